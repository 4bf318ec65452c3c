package webhook_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

func TestAPingGoesToOneEndpointWhateverItsFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		ctx := t.Context()
		b.endpoint(webhook.Endpoint{TenantID: "acme", URL: "https://other.example/"})
		e := b.endpoint(webhook.Endpoint{TenantID: "acme", EventTypes: []string{"order.created"}, Match: map[string]string{"a": "b"}})
		r, err := b.PingEndpoint(ctx, e.ID)
		require.NoError(t, err)
		require.Len(t, r.DeliveryIDs, 1)
		require.NoError(t, b.Idle(ctx))
		require.Equal(t, 1, b.client.Count())
		request := b.client.Next(t)
		require.Equal(t, e.URL, request.URL)
		require.Equal(t, r.EventID, request.ID)
		v := webhook.Verifier{Secrets: []string{e.Secrets[0].Value}}
		require.NoError(t, v.Verify(request.Body, request.Header))
		var body struct {
			Type string
			Data struct{ EndpointID string }
		}
		require.NoError(t, json.Unmarshal(request.Body, &body))
		require.Equal(t, webhook.PingType, body.Type)
		require.Equal(t, e.ID, body.Data.EndpointID)
		d := b.delivery(r.DeliveryIDs[0])
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.Equal(t, webhook.PingType, d.EventType)
		require.Equal(t, "acme", d.TenantID)

		require.NoError(t, b.PauseEndpoint(ctx, e.ID))
		r, err = b.PingEndpoint(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.StateHeld, b.delivery(r.DeliveryIDs[0]).State)
		require.NoError(t, b.DisableEndpoint(ctx, e.ID))
		_, err = b.PingEndpoint(ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrEndpointDisabled)
		require.NoError(t, b.DeleteEndpoint(ctx, e.ID))
		_, err = b.PingEndpoint(ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = b.PingEndpoint(ctx, "we_none")
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestReplayReachesEndpointsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch})
		ctx := t.Context()
		first := b.endpoint(webhook.Endpoint{URL: "https://first.example/"})
		sent := b.send(webhook.Event{Payload: []byte(`{"n": 1}`)})
		require.NoError(t, b.Idle(ctx))
		time.Sleep(time.Hour)

		later := b.endpoint(webhook.Endpoint{URL: "https://later.example/"})
		other := b.endpoint(webhook.Endpoint{URL: "https://other.example/", EventTypes: []string{"invoice.paid"}})
		r, err := b.Replay(ctx, sent.EventID)
		require.NoError(t, err)
		require.Equal(t, sent.EventID, r.EventID)
		require.Len(t, r.DeliveryIDs, 2)
		require.Equal(t, sent.DeliveryIDs[0], r.DeliveryIDs[0], "the first endpoint has had it")
		require.False(t, r.Duplicate)
		require.NoError(t, b.Idle(ctx))
		d := b.delivery(r.DeliveryIDs[1])
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.Equal(t, later.ID, d.EndpointID)
		require.Equal(t, sent.EventID, d.EventID)
		require.Equal(t, webhook.TriggerInitial, d.Attempts[0].Trigger)
		require.WithinDuration(t, time.Now(), d.CreatedAt, time.Second)
		require.Equal(t, `{"n": 1}`, string(b.client.Requests()[1].Body))

		again, err := b.Replay(ctx, sent.EventID)
		require.NoError(t, err)
		require.Equal(t, r.DeliveryIDs, again.DeliveryIDs)
		require.True(t, again.Duplicate)
		named, err := b.Replay(ctx, sent.EventID, other.ID, first.ID)
		require.NoError(t, err)
		require.NoError(t, b.Idle(ctx))
		require.Equal(t, other.ID, b.delivery(named.DeliveryIDs[0]).EndpointID, "whatever its filters")
		require.Equal(t, sent.DeliveryIDs[0], named.DeliveryIDs[1])
		require.Equal(t, 3, b.client.Count())
		require.Len(t, watch.kinds(webhook.NoticeSent), 1)
	})
}

func TestWhatCannotBeReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		ctx := t.Context()
		e := b.endpoint(webhook.Endpoint{})
		foreign := b.endpoint(webhook.Endpoint{TenantID: "acme"})
		_, err := b.Replay(ctx, "evt_none", e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		sent := b.send(webhook.Event{EndpointIDs: []string{e.ID}, ExpiresAt: time.Now().Add(time.Hour)})
		_, err = b.Replay(ctx, sent.EventID, foreign.ID)
		require.ErrorIs(t, err, webhook.ErrInvalid)
		_, err = b.Replay(ctx, sent.EventID, make([]string, 1001)...)
		require.ErrorIs(t, err, webhook.ErrInvalid)

		later := b.endpoint(webhook.Endpoint{})
		r, err := b.Replay(ctx, sent.EventID)
		require.NoError(t, err)
		require.Equal(t, sent.DeliveryIDs, r.DeliveryIDs, "it was sent to that endpoint only")
		require.NoError(t, b.DeleteEndpoint(ctx, e.ID))
		r, err = b.Replay(ctx, sent.EventID)
		require.NoError(t, err)
		require.Empty(t, r.DeliveryIDs)
		time.Sleep(2 * time.Hour)
		_, err = b.Replay(ctx, sent.EventID, later.ID)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "expired")

		sent = b.send(webhook.Event{})
		require.NoError(t, b.EraseEvent(ctx, sent.EventID))
		_, err = b.Replay(ctx, sent.EventID, b.endpoint(webhook.Endpoint{}).ID)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "payload")
	})
}

func TestAReplayInManyPlacesAddsOneDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client})
		require.NoError(t, err)
		sent := b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)})
		e := b.endpoint(webhook.Endpoint{})
		receipts := make(chan string, 20)
		for n := range 20 {
			d := b.Dispatcher
			if n%2 == 0 {
				d = other
			}
			go func() {
				r, err := d.Replay(t.Context(), sent.EventID, e.ID)
				receipts <- fmt.Sprint(r.DeliveryIDs, err)
			}()
		}
		first := <-receipts
		for range 19 {
			require.Equal(t, first, <-receipts)
		}
		time.Sleep(time.Hour - time.Second)
		require.Zero(t, b.client.Count(), "DeliverAt holds for a replay too")
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, b.client.Count())
	})
}
