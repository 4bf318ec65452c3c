package webhook_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

// watcher keeps the notices that an Observer gets.
type watcher struct {
	mu      sync.Mutex
	notices []webhook.Notice
}

func (w *watcher) Observe(_ context.Context, n webhook.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notices = append(w.notices, n)
}

func (w *watcher) kinds(kind webhook.NoticeKind) []webhook.Notice {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.notices), func(n webhook.Notice) bool { return n.Kind != kind })
}

func TestRunIsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		require.ErrorIs(t, b.Run(t.Context()), webhook.ErrRunning)
		require.ErrorIs(t, b.RunOnce(t.Context()), webhook.ErrRunning)
		b.stop()
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		require.Equal(t, webhook.StateQueued, b.delivery(id).State, "Send works without Run")
		b.run()
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
	})
}

func TestRunThatBeginsDuringASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, client := withSlowCommits(t, 2*time.Millisecond)
		began := time.Now()
		sent := sending(t, d, 1)
		stop := running(t, d)
		sent.Wait()
		require.Equal(t, 2*time.Millisecond, client.Next(t).At.Sub(began), "no poll is waited for")
		stop()
	})
}

// A lease of 16 s begins with the commit, not when Send began to wait for its turn.
func TestASendThatWaitedLongIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, client := withSlowCommits(t, 6*time.Second)
		stop := running(t, d)
		synctest.Wait()
		began := time.Now()
		sent := sending(t, d, 2)
		var at []time.Duration
		for _, r := range client.Wait(t, 2) {
			at = append(at, r.At.Sub(began))
		}
		require.Equal(t, []time.Duration{6 * time.Second, 12 * time.Second}, at)
		sent.Wait()
		stop()
	})
}

// withSlowCommits makes a dispatcher with one endpoint, attempts of a second, and a store that takes its time.
func withSlowCommits(t *testing.T, delay time.Duration) (*webhook.Dispatcher, *webhooktest.Client) {
	client := &webhooktest.Client{}
	store := &parallelStore{Store: memory.New(), delay: delay}
	d, err := webhook.New(store, webhook.Config{HTTPClient: client, AttemptTimeout: time.Second, Logger: quiet()})
	require.NoError(t, err)
	_, err = d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example"})
	require.NoError(t, err)
	return d, client
}

// sending returns once n Sends wait for the store, of which the first is being written.
func sending(t *testing.T, d *webhook.Dispatcher, n int) *sync.WaitGroup {
	var sends sync.WaitGroup
	for range n {
		sends.Go(func() {
			if _, err := d.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("{}")}); err != nil {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
	}
	return &sends
}

func TestRunOnceDeliversWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{Workers: 3, Retry: webhook.Schedule(time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.client.Script(500)
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Second} })
		for range 50 {
			b.send(webhook.Event{})
		}
		later := b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)}).DeliveryIDs[0]
		require.NoError(t, b.RunOnce(t.Context()))
		require.Equal(t, 50, b.client.Count())
		stats, err := b.Stats(t.Context(), webhook.StatsQuery{})
		require.NoError(t, err)
		require.EqualValues(t, 49, stats.Succeeded)
		require.EqualValues(t, 2, stats.Pending)
		require.Equal(t, webhook.StateScheduled, b.delivery(later).State)
		require.NoError(t, b.RunOnce(t.Context()))
		require.Equal(t, 50, b.client.Count())
		time.Sleep(time.Hour)
		require.NoError(t, b.RunOnce(t.Context()))
		require.Equal(t, 52, b.client.Count())
	})
}

func TestRunOnceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Hang: true})
		b.send(webhook.Event{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.RunOnce(ctx), context.DeadlineExceeded)
	})
}

func TestShutdownFinishesWhatItCanAndHandsBackTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 4, DrainTimeout: 3 * time.Second})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Delay: 2 * time.Second}, webhooktest.Answer{Hang: true})
		var ids []string
		for range 2 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
			synctest.Wait()
		}
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer {
			return webhooktest.Answer{Delay: 2500 * time.Millisecond}
		})
		for range 10 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		synctest.Wait()
		require.Equal(t, 4, b.client.Count())
		began := time.Now()
		b.stop()
		require.InDelta(t, 3, time.Since(began).Seconds(), 0.25)
		require.Equal(t, 4, b.client.Count(), "nothing begins while draining")

		require.Equal(t, webhook.StateSucceeded, b.delivery(ids[0]).State)
		cut := b.delivery(ids[1])
		require.Equal(t, webhook.StateQueued, cut.State)
		require.Equal(t, webhook.AttemptInterrupted, cut.Attempts[0].Status)
		require.Equal(t, webhook.CodeNetworkRequestCanceled, cut.Attempts[0].ErrorCode)
		for _, id := range ids[4:] {
			d := b.delivery(id)
			require.Equal(t, webhook.StateQueued, d.State, "due at once, not when its lease ends")
			require.Empty(t, d.Attempts)
		}
		b.run()
		require.NoError(t, b.Idle(t.Context()))
		for i, id := range ids {
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State)
			if i >= 4 {
				require.Equal(t, webhook.TriggerInitial, d.Attempts[0].Trigger)
				require.Equal(t, 1, d.AttemptCount)
			}
		}
	})
}

func TestAnInterruptedAttemptIsNotCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{Retry: webhook.Schedule(), DrainTimeout: time.Millisecond})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Hang: true})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		b.run()
		time.Sleep(time.Second)
		b.stop()
		b.run()
		require.NoError(t, b.Idle(t.Context()))
		d := b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State, "the one attempt of the policy was still there")
		require.Len(t, d.Attempts, 2)
		require.Equal(t, 2, d.Attempts[1].AttemptNumber)
	})
}

func TestTwoDispatchersShareAStoreWithoutDoubling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 8})
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client, Workers: 8})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- other.Run(ctx) }()
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: 100 * time.Millisecond} })
		for n := range 10 {
			b.endpoint(webhook.Endpoint{URL: fmt.Sprintf("https://r%d.example/", n)})
		}
		for range 50 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Minute)
		require.Equal(t, 500, b.client.Count())
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestACrashedProcessesDeliveriesAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		claimed, err := b.store.Claim(t.Context(), webhook.ClaimRequest{
			Now: time.Now(), LeaseUntil: time.Now().Add(30 * time.Second), Limit: 10, PerEndpoint: 10, Owner: "dead"})
		require.NoError(t, err)
		require.Len(t, claimed.Claims, 1)
		b.run()
		time.Sleep(29 * time.Second)
		require.Zero(t, b.client.Count())
		time.Sleep(2 * time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.Equal(t, webhook.AttemptInterrupted, d.Attempts[0].Status)
		require.Equal(t, webhook.InterruptedError, d.Attempts[0].Error)
		require.Equal(t, 2, d.Attempts[1].AttemptNumber)
	})
}

func TestEndpointsThatHangDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 64, PerEndpoint: 8})
		b.client.On("https://dead").Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Hang: true} })
		b.client.On("https://live").Respond(func(webhooktest.Request) webhooktest.Answer {
			return webhooktest.Answer{Delay: 10 * time.Millisecond}
		})
		for n := range 5 {
			b.endpoint(webhook.Endpoint{URL: fmt.Sprintf("https://dead%d.example/", n), EventTypes: []string{"flood"}})
		}
		b.endpoint(webhook.Endpoint{URL: "https://live.example/", EventTypes: []string{"order.created"}})
		for range 300 {
			b.send(webhook.Event{Type: "flood"})
		}
		for range 200 {
			began := time.Now()
			id := b.send(webhook.Event{}).DeliveryIDs[0]
			time.Sleep(25 * time.Millisecond)
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State)
			require.WithinDuration(t, began, d.Attempts[0].StartedAt, 5*time.Millisecond)
			time.Sleep(time.Second)
		}
	})
}

func TestAnIdleMachineServesOneEndpointWithMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 256, PerEndpoint: 8})
		b.endpoint(webhook.Endpoint{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Second} })
		for range 4 {
			events := make([]webhook.Event, 1000)
			for i := range events {
				events[i] = webhook.Event{Type: "a", Payload: []byte("{}")}
			}
			_, err := b.SendBatch(t.Context(), events)
			require.NoError(t, err)
		}
		began := time.Now()
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 4000, b.client.Count())
		require.Less(t, time.Since(began), 90*time.Second, "8 at a time would take 500 s, 64 take 63 s")
	})
}

func TestObserversAndTheirPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(time.Second)})
		b.client.Script(500, 500)
		b.endpoint(webhook.Endpoint{})
		r := b.send(webhook.Event{})
		time.Sleep(time.Minute)
		sent := watch.kinds(webhook.NoticeSent)
		require.Len(t, sent, 1)
		require.Equal(t, r, *sent[0].Receipt)
		require.Nil(t, sent[0].Event.Payload)
		attempts := watch.kinds(webhook.NoticeAttempt)
		require.Len(t, attempts, 2)
		require.Equal(t, 2, attempts[1].Attempt.AttemptNumber)
		exhausted := watch.kinds(webhook.NoticeExhausted)
		require.Len(t, exhausted, 1)
		require.Equal(t, webhook.StateExhausted, exhausted[0].Delivery.State)
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Observer: panicker{}, Logger: quiet()})
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
	})
}

type panicker struct{}

func (panicker) Observe(context.Context, webhook.Notice) { panic("observer") }

func TestNewRefusesAbsurdSettings(t *testing.T) {
	for field, cfg := range map[string]webhook.Config{
		"Workers":         {Workers: -1},
		"PerEndpoint":     {PerEndpoint: -1},
		"AttemptTimeout":  {AttemptTimeout: time.Hour},
		"DrainTimeout":    {DrainTimeout: -1},
		"PollInterval":    {PollInterval: -1},
		"MaxPayload":      {MaxPayload: -1},
		"Retention":       {Retention: -2},
		"DetailRetention": {DetailRetention: -2},
		"DisableAfter":    {DisableAfter: -2},
		"OnDisabled":      {OnDisabled: 7},
		"UserAgent":       {UserAgent: "a\nb"},
	} {
		_, err := webhook.New(prepare(t, webhook.Config{}).store, cfg)
		require.ErrorIs(t, err, webhook.ErrInvalid, field)
		require.ErrorContains(t, err, "Config."+field)
	}
	_, err := webhook.New(nil, webhook.Config{})
	require.ErrorIs(t, err, webhook.ErrInvalid)
}

func TestOrderedEndpointIsNotPacedByPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{PollInterval: time.Minute})
		b.endpoint(webhook.Endpoint{Ordered: true})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Millisecond} })
		began := time.Now()
		for range 50 {
			b.send(webhook.Event{})
		}
		b.client.Wait(t, 50)
		require.Less(t, time.Since(began), time.Second)
	})
}
