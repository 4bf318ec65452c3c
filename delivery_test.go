package webhook_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func TestDeliveriesAreListedByPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		var want []string
		for n := range 120 {
			want = append(b.send(webhook.Event{Attributes: map[string]string{"n": fmt.Sprint(n)}}).DeliveryIDs, want...)
		}
		require.NoError(t, b.Idle(t.Context()))
		page, err := b.ListDeliveries(t.Context(), webhook.DeliveryQuery{})
		require.NoError(t, err)
		require.Len(t, page, 50)
		var got []string
		for item, err := range b.Deliveries(t.Context(), webhook.DeliveryQuery{Limit: 7}) {
			require.NoError(t, err)
			got = append(got, item.ID)
		}
		require.Equal(t, want, got)
		for item, err := range b.Deliveries(t.Context(), webhook.DeliveryQuery{Attributes: map[string]string{"n": "17"}}) {
			require.NoError(t, err)
			require.Equal(t, want[102], item.ID)
		}
		none, err := b.ListDeliveries(t.Context(), webhook.DeliveryQuery{TenantID: "forgotten"})
		require.NoError(t, err)
		require.Empty(t, none)
		_, err = b.ListDeliveries(t.Context(), webhook.DeliveryQuery{After: "nonsense"})
		require.ErrorIs(t, err, webhook.ErrInvalid)
		_, err = b.ListDeliveries(t.Context(), webhook.DeliveryQuery{Limit: -1})
		require.ErrorIs(t, err, webhook.ErrInvalid)
	})
}

func TestADeliveryShowsAllThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Minute)})
		e := b.endpoint(webhook.Endpoint{TenantID: "acme"})
		b.client.Answer(webhooktest.Answer{Status: 503, Body: "later\x00\xff", Delay: time.Second})
		r := b.send(webhook.Event{TenantID: "acme", Payload: []byte(`{"a": 1}`), Attributes: map[string]string{"k": "v"}})
		time.Sleep(2 * time.Second)
		d := b.delivery(r.DeliveryIDs[0])
		require.Equal(t, webhook.StateScheduled, d.State)
		require.Equal(t, webhook.StatusPending, d.Status)
		require.Equal(t, e.ID, d.EndpointID)
		require.Equal(t, r.EventID, d.EventID)
		require.Equal(t, `{"a": 1}`, string(d.Event.Payload))
		require.Equal(t, 503, *d.LastAttempt.ResponseStatus)
		require.Nil(t, d.LastAttempt.ErrorMessage)
		require.Equal(t, webhook.CodeBadResponse, d.LastErrorCode)
		require.Equal(t, 2, *d.MaxAttempts)
		a := d.Attempts[0]
		require.Equal(t, *a.NextAttemptAt, *d.NextRetryAt)
		require.Equal(t, 503, *a.StatusCode)
		require.Equal(t, int64(1000), a.DurationMS)
		require.Equal(t, a.StartedAt, d.LastAttempt.AttemptedAt)
		require.NotNil(t, a.ResponseBodyPreview)
		require.NotContains(t, *a.ResponseBodyPreview, "\x00")

		data, err := json.Marshal(d)
		require.NoError(t, err)
		var shape map[string]any
		require.NoError(t, json.Unmarshal(data, &shape))
		require.Equal(t, e.ID, shape["webhookEndpointId"])
		require.Equal(t, map[string]any{"a": 1.0}, shape["event"].(map[string]any)["payload"])
		var back webhook.Delivery
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, d.Attempts, back.Attempts)
		require.Equal(t, d.DeliveryListItem, back.DeliveryListItem)

		attempts, err := b.ListAttempts(t.Context(), webhook.AttemptQuery{TenantID: "acme"})
		require.NoError(t, err)
		require.Equal(t, d.Attempts, attempts)
		_, err = b.GetDelivery(t.Context(), "wd_none")
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = b.GetEvent(t.Context(), "evt_none")
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestRetryBeginsANewRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Minute)})
		b.endpoint(webhook.Endpoint{})
		b.client.Script(500, 500, 500, 200, 200)
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		time.Sleep(time.Hour)
		require.Equal(t, webhook.StateExhausted, b.delivery(id).State)
		require.NoError(t, b.Retry(t.Context(), id))
		time.Sleep(time.Hour)
		d := b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.NoError(t, b.Retry(t.Context(), id), "after a success, too")
		require.NoError(t, b.Idle(t.Context()))
		d = b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State)
		var triggers []webhook.Trigger
		for i, a := range d.Attempts {
			require.Equal(t, i+1, a.AttemptNumber)
			triggers = append(triggers, a.Trigger)
		}
		require.Equal(t, []webhook.Trigger{"initial", "automatic", "manual", "automatic", "manual"}, triggers)
		first := b.client.Requests()[0]
		for _, r := range b.client.Requests() {
			require.Equal(t, first.ID, r.ID)
		}
		require.ErrorIs(t, b.Retry(t.Context(), "wd_none"), webhook.ErrNotFound)
	})
}

func TestRetryOfAPendingDeliveryIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Status: 500, Delay: time.Second})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		synctest.Wait()
		err := b.Retry(t.Context(), id)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "under way")
		time.Sleep(2 * time.Second)
		require.NoError(t, b.Retry(t.Context(), id))
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Status: 500}, webhooktest.Answer{Delay: time.Second}, webhooktest.Answer{Status: 500, Delay: time.Second})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		require.NoError(t, b.Cancel(t.Context(), id))
		d := b.delivery(id)
		require.Equal(t, webhook.StateCanceled, d.State)
		require.Equal(t, webhook.CodeCancelled, d.FailureCode)
		require.ErrorIs(t, b.Cancel(t.Context(), id), webhook.ErrConflict)

		inFlight := b.send(webhook.Event{}).DeliveryIDs[0]
		synctest.Wait()
		require.NoError(t, b.Cancel(t.Context(), inFlight))
		time.Sleep(2 * time.Second)
		require.Equal(t, webhook.StateSucceeded, b.delivery(inFlight).State, "a 2xx still wins")

		failing := b.send(webhook.Event{}).DeliveryIDs[0]
		synctest.Wait()
		require.NoError(t, b.Cancel(t.Context(), failing))
		time.Sleep(2 * time.Hour)
		d = b.delivery(failing)
		require.Equal(t, webhook.StateCanceled, d.State)
		require.Len(t, d.Attempts, 1, "recorded all the same")
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		e := b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Delay: 30 * time.Millisecond}, webhooktest.Answer{Status: 500}, webhooktest.Answer{Hang: true})
		for range 3 {
			b.send(webhook.Event{})
			synctest.Wait()
		}
		b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)})
		time.Sleep(time.Second)
		s, err := b.Stats(t.Context(), webhook.StatsQuery{EndpointID: e.ID})
		require.NoError(t, err)
		require.EqualValues(t, 1, s.Succeeded)
		require.EqualValues(t, 1, s.Exhausted)
		require.EqualValues(t, 2, s.Pending)
		require.Equal(t, 1, s.InFlight)
		require.Len(t, s.Hours, 1)
		require.EqualValues(t, 1, s.Hours[0].Succeeded)
		require.EqualValues(t, 1, s.Hours[0].Failed)
		require.EqualValues(t, 1, s.Hours[0].Latency[3], "25 to 50 ms")
		b.client.Release()
	})
}

// Success rate and latency of each endpoint, hour by hour.
func TestStatsOfEachEndpointByTheHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()})
		first := b.endpoint(webhook.Endpoint{URL: "https://first.example/"})
		second := b.endpoint(webhook.Endpoint{URL: "https://second.example/"})
		b.client.On("https://first").Respond(func(webhooktest.Request) webhooktest.Answer {
			return webhooktest.Answer{Delay: 30 * time.Millisecond}
		})
		answers := b.client.On("https://second")
		began := time.Now().Truncate(time.Hour)
		for range 3 {
			answers.Answer(webhooktest.Answer{Delay: 3 * time.Second}, webhooktest.Answer{Status: 503, Delay: 7 * time.Millisecond},
				webhooktest.Answer{Err: webhooktest.ErrTimeout})
			for range 3 {
				b.send(webhook.Event{})
				time.Sleep(10 * time.Second)
			}
			time.Sleep(time.Hour - 30*time.Second)
		}
		hours := func(endpointID string) []webhook.HourStats {
			s, err := b.Stats(t.Context(), webhook.StatsQuery{EndpointID: endpointID})
			require.NoError(t, err)
			return s.Hours
		}
		var ofFirst, ofSecond []webhook.HourStats
		for n := range time.Duration(3) {
			hour := began.Add(n * time.Hour).UTC()
			ofFirst = append(ofFirst, webhook.HourStats{Start: hour, Succeeded: 3, Latency: [12]int64{3: 3}})
			ofSecond = append(ofSecond, webhook.HourStats{Start: hour, Succeeded: 1, Failed: 2, Latency: [12]int64{1: 1, 9: 1}})
		}
		require.Equal(t, ofFirst, hours(first.ID))
		require.Equal(t, ofSecond, hours(second.ID), "a failure without an answer has no latency")
		time.Sleep(30 * time.Hour)
		require.Empty(t, hours(first.ID), "24 hours by default")
	})
}
