package webhook_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// outage answers 500 while it lasts.
func (b *bench) outage() (end func()) {
	var down atomic.Bool
	down.Store(true)
	b.client.Respond(func(webhooktest.Request) webhooktest.Answer {
		if down.Load() {
			return webhooktest.Answer{Status: 500}
		}
		return webhooktest.Answer{}
	})
	return func() { down.Store(false) }
}

func TestARecoveredEndpointIsFoundLongBeforeItsRetriesAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(10*time.Hour, 10*time.Hour)})
		e := b.endpoint(webhook.Endpoint{})
		end := b.outage()
		began := time.Now()
		var ids []string
		for range 200 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		later := b.send(webhook.Event{DeliverAt: began.Add(9 * time.Hour)}).DeliveryIDs[0]
		time.Sleep(30 * time.Minute)
		probed := b.client.Requests()[200:]
		require.Len(t, probed, 2)
		require.WithinDuration(t, began.Add(5*time.Minute), probed[0].At, 2*time.Second)
		require.WithinDuration(t, began.Add(15*time.Minute), probed[1].At, 2*time.Second)
		require.Len(t, watch.kinds(webhook.NoticeEndpointFailing), 1)
		require.Empty(t, watch.kinds(webhook.NoticeEndpointRecover))
		require.Equal(t, e.ID, watch.kinds(webhook.NoticeEndpointFailing)[0].Endpoint.ID)

		end()
		time.Sleep(5*time.Minute - 5*time.Second)
		require.Equal(t, 202, b.client.Count(), "nothing before the next probe")
		time.Sleep(15 * time.Second)
		for n, id := range ids {
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State, "%d of %d", n, b.client.Count())
			require.WithinDuration(t, began.Add(35*time.Minute), d.UpdatedAt, 10*time.Second)
			require.Equal(t, webhook.TriggerAutomatic, d.Attempts[1].Trigger)
		}
		require.Equal(t, webhook.StateScheduled, b.delivery(later).State, "DeliverAt is the user's word")
		require.Equal(t, 402, b.client.Count())
		require.Len(t, watch.kinds(webhook.NoticeEndpointFailing), 1)
		require.Len(t, watch.kinds(webhook.NoticeEndpointRecover), 1)
	})
}

func TestAProbeCostsTheDeliveryNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(4 * time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.outage()
		began := time.Now()
		var ids []string
		for range 12 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		time.Sleep(4*time.Hour - time.Second)
		for _, id := range ids {
			require.Equal(t, webhook.StateScheduled, b.delivery(id).State)
		}
		// 5, 15, 35 and 75 minutes, then every hour.
		require.Equal(t, 12+6, b.client.Count())
		time.Sleep(3 * time.Second)
		for _, id := range ids {
			d := b.delivery(id)
			require.Equal(t, webhook.StateExhausted, d.State)
			last := d.Attempts[len(d.Attempts)-1]
			require.WithinDuration(t, began.Add(4*time.Hour), last.StartedAt, 2*time.Second)
		}
		require.Equal(t, 12+6+12, b.client.Count())
		require.Len(t, watch.kinds(webhook.NoticeExhausted), 12)
	})
}

func TestAReleaseAfterAProbeEndsWithTheNextFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(10*time.Hour, time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.outage()
		for range 50 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Minute)
		b.client.Script(200) // the probe, and then no more
		time.Sleep(9 * time.Minute)
		require.Less(t, b.client.Count(), 60)
		stats, err := b.Stats(t.Context(), webhook.StatsQuery{})
		require.NoError(t, err)
		require.EqualValues(t, 1, stats.Succeeded)
		require.EqualValues(t, 49, stats.Pending)
	})
}

func TestAProbeWaitsForRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(10 * time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer {
			return webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"7200"}}}
		})
		for range 20 {
			b.send(webhook.Event{})
		}
		time.Sleep(2*time.Hour - time.Second)
		require.Equal(t, 20, b.client.Count())
		time.Sleep(5 * time.Second)
		require.Equal(t, 21, b.client.Count())
	})
}

func TestAnotherProcessProbesWhatItFindsFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(10 * time.Hour)})
		b.endpoint(webhook.Endpoint{})
		end := b.outage()
		for range 20 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Minute)
		b.stop()
		end()
		watch := &watcher{}
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client, Observer: watch})
		require.NoError(t, err)
		b.Dispatcher = other
		b.run()
		time.Sleep(6 * time.Minute)
		require.Equal(t, 40, b.client.Count())
		require.Len(t, watch.kinds(webhook.NoticeEndpointRecover), 1)
	})
}

func TestFewFailuresAreNotWorthAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(10 * time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.outage()
		for range 9 {
			b.send(webhook.Event{})
		}
		time.Sleep(9 * time.Hour)
		require.Equal(t, 9, b.client.Count())
		require.Empty(t, watch.kinds(webhook.NoticeEndpointFailing))
	})
}
