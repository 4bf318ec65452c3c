package webhook_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

// claimCounter counts what is claimed.
type claimCounter struct {
	*memory.Store
	mu    sync.Mutex
	calls int
	given map[string]int // claims of a delivery
}

func (s *claimCounter) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	res, err := s.Store.Claim(ctx, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	for _, c := range res.Claims {
		s.given[c.DeliveryID]++
	}
	return res, err
}

func (s *claimCounter) claimed() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.given {
		n += times
	}
	return n
}

func counting(t *testing.T, cfg webhook.Config) (*bench, *claimCounter) {
	s := &claimCounter{Store: memory.New(), given: map[string]int{}}
	client := &webhooktest.Client{}
	cfg.HTTPClient, cfg.Logger = client, quiet()
	d, err := webhook.New(s, cfg)
	require.NoError(t, err)
	b := &bench{t: t, Dispatcher: d, store: s.Store, client: client}
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
	})
	return b, s
}

// requireSpaced checks that requests came so far apart, the first at once, and to the second.
func requireSpaced(t *testing.T, began time.Time, gap time.Duration, requests []webhooktest.Request) {
	t.Helper()
	for n, r := range requests {
		require.WithinDuration(t, began.Add(time.Duration(n)*gap), r.At, time.Second, "request %d", n)
	}
}

// With a rate so low that a lease ends long before the next attempt may begin, what waits does so in the
// store: nothing is interrupted, and the store is not asked for it over and over.
func TestALowRateLimitOutlastsLeases(t *testing.T) {
	for _, gap := range []time.Duration{12 * time.Second, 100 * time.Second, time.Hour} {
		t.Run(gap.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testLowRateLimit(t, gap) })
		})
	}
}

func testLowRateLimit(t *testing.T, gap time.Duration) {
	watch := &watcher{}
	b, claims := counting(t, webhook.Config{Observer: watch, PollInterval: time.Hour})
	b.endpoint(webhook.Endpoint{RateLimit: 1 / gap.Seconds()})
	b.run()
	began := time.Now()
	var ids []string
	for range 20 {
		ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
	}
	time.Sleep(19*gap + gap/2)
	requests := b.client.Requests()
	require.Len(t, requests, 20)
	requireSpaced(t, began, gap, requests)
	require.Empty(t, watch.kinds(webhook.NoticeInterrupted))
	for n, id := range ids {
		d := b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.Len(t, d.Attempts, 1)
		require.Equal(t, webhook.TriggerInitial, d.Attempts[0].Trigger)
		if n > 0 {
			require.GreaterOrEqual(t, d.DeferralCount, 1, "delivery %d", n)
		}
		require.LessOrEqual(t, claims.given[id], 2)
	}
	require.Less(t, claims.calls, 100)
}

// A rate that is lowered holds for what waits in memory, too, and one that is raised frees it at once.
func TestARateLimitMayBeChangedWhileDeliveriesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b, _ := counting(t, webhook.Config{Observer: watch, PollInterval: time.Hour})
		e := b.endpoint(webhook.Endpoint{RateLimit: 1})
		b.run()
		setRate := func(rate float64) time.Time {
			_, err := b.UpdateEndpoint(t.Context(), e.ID, func(e *webhook.Endpoint) error { e.RateLimit = rate; return nil })
			require.NoError(t, err)
			return time.Now()
		}
		for range 30 {
			b.send(webhook.Event{})
		}
		time.Sleep(500 * time.Millisecond)
		require.Equal(t, 1, b.client.Count())
		slowed := setRate(0.005) // half of what the next one needs is there: 100 seconds are missing
		time.Sleep(time.Hour)
		slow := b.client.Requests()[1:]
		require.Len(t, slow, 18)
		requireSpaced(t, slowed.Add(100*time.Second), 200*time.Second, slow)

		raised := setRate(0.5)
		time.Sleep(25 * time.Second)
		fast := b.client.Requests()[19:]
		require.Len(t, fast, 11)
		requireSpaced(t, raised, 2*time.Second, fast)
		require.Empty(t, watch.kinds(webhook.NoticeInterrupted))
	})
}

func TestALowRateLimitHoldsForRetriesAndAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b, _ := counting(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(time.Second), PollInterval: time.Hour})
		b.endpoint(webhook.Endpoint{RateLimit: 0.02})
		b.client.Script(500, 500)
		b.run()
		began := time.Now()
		ids := append(b.send(webhook.Event{}).DeliveryIDs, b.send(webhook.Event{}).DeliveryIDs...)
		time.Sleep(170 * time.Second)
		requireSpaced(t, began, 50*time.Second, b.client.Requests())
		for _, id := range ids {
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State)
			require.Equal(t, []webhook.Trigger{webhook.TriggerInitial, webhook.TriggerAutomatic},
				[]webhook.Trigger{d.Attempts[0].Trigger, d.Attempts[1].Trigger})
		}
		for range 3 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		time.Sleep(20 * time.Second)
		require.Equal(t, 4, b.client.Count())
		b.stop()
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client, Observer: watch})
		require.NoError(t, err)
		b.Dispatcher, began = other, time.Now()
		b.run()
		time.Sleep(110 * time.Second)
		requests := b.client.Requests()[4:]
		require.Len(t, requests, 3)
		requireSpaced(t, began, 50*time.Second, requests)
		require.Empty(t, watch.kinds(webhook.NoticeInterrupted))
	})
}

// RunOnce waits for what is due and must wait, and for nothing else.
func TestRunOnceWithALowRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{RateLimit: 0.01})
		for _, c := range []struct {
			sends int
			takes time.Duration
		}{{1, 0}, {3, 300 * time.Second}, {0, 0}} {
			for range c.sends {
				b.send(webhook.Event{})
			}
			began, before := time.Now(), b.client.Count()
			require.NoError(t, b.RunOnce(t.Context()))
			require.Equal(t, c.sends, b.client.Count()-before)
			if c.sends > 1 {
				c.takes = 200 * time.Second // a run knows nothing of the one before
			}
			require.WithinDuration(t, began.Add(c.takes), time.Now(), time.Second)
		}
	})
}

func TestALowRateLimitIsSharedByProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		c := newCommon()
		a, b := over(t, c, webhook.Config{Observer: watch}), over(t, c, webhook.Config{Observer: watch})
		a.endpoint(webhook.Endpoint{RateLimit: 0.05})
		var ids []string
		for range 60 {
			ids = append(ids, a.send(webhook.Event{}).DeliveryIDs...)
		}
		a.run()
		b.run()
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 31, a.client.Count()+b.client.Count(), 1, "30, and one more since each begins with one")
		b.stop()
		before := a.client.Count()
		time.Sleep(10 * time.Minute)
		require.InDelta(t, 30, a.client.Count()-before, 1, "who has left leaves his share to the others")
		require.Empty(t, watch.kinds(webhook.NoticeInterrupted))
		for _, id := range ids {
			require.LessOrEqual(t, a.delivery(id).AttemptCount, 1)
		}
	})
}

// Slow answers take no part of the rate: what waits is claimed in time all the same.
func TestARateLimitIsReachedDespiteSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{RateLimit: 1})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: 7 * time.Second} })
		began := time.Now()
		for range 60 {
			b.send(webhook.Event{})
		}
		time.Sleep(59500 * time.Millisecond)
		requests := b.client.Requests()
		require.Len(t, requests, 60)
		requireSpaced(t, began, time.Second, requests)
	})
}
