package webhook_test

import (
	"context"
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

// How attempts at once are shared among endpoints.

// rounds counts the requests that began together, and says how long after began, to a tenth of a second.
func rounds(began time.Time, requests []webhooktest.Request) (counts []int, after []time.Duration) {
	for _, r := range requests {
		if since := r.At.Sub(began).Round(100 * time.Millisecond); len(after) == 0 || after[len(after)-1] != since {
			counts, after = append(counts, 0), append(after, since)
		}
		counts[len(counts)-1]++
	}
	return counts, after
}

func TestMaxInFlightIsNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 64})
		b.endpoint(webhook.Endpoint{MaxInFlight: 3})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Second} })
		began := time.Now()
		for range 60 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Minute)
		requests := b.client.Requests()
		require.Len(t, requests, 60)
		for n, r := range requests {
			want := began.Add(time.Duration(n/3) * time.Second)
			require.WithinDuration(t, want, r.At, 200*time.Millisecond, "request %d", n)
			require.False(t, r.At.Before(want), "request %d is a fourth", n)
		}
	})
}

func TestTimeoutsTakeSlotsAndSuccessesGiveThemBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 32, PerEndpoint: 8, AttemptTimeout: time.Second, Retry: webhook.Schedule(time.Hour)})
		b.endpoint(webhook.Endpoint{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Hang: true} })
		began := time.Now()
		for range 300 {
			b.send(webhook.Event{})
		}
		const second = time.Second
		time.Sleep(5*second + second/2)
		counts, after := rounds(began, b.client.Requests())
		require.Equal(t, []int{8, 1, 1, 1, 1, 1}, counts)
		require.Equal(t, []time.Duration{0, second, 2 * second, 3 * second, 4 * second, 5 * second}, after)

		timedOut := b.client.Count()
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: second / 2} })
		time.Sleep(2*second + 3*second/4)
		counts, after = rounds(began, b.client.Requests()[timedOut:])
		require.Equal(t, []int{1, 2, 4, 8, 8}, counts, "each success gives one more")
		for n, since := range after {
			require.Equal(t, 6*second+time.Duration(n)*second/2, since)
		}
	})
}

func TestAFailingEndpointBeginsWithOneSlotAfterARestart(t *testing.T) {
	for _, of := range []string{"Run", "the process"} {
		t.Run(of, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &webhooktest.Client{}
				cfg := webhook.Config{HTTPClient: client, Workers: 32, PerEndpoint: 8, AttemptTimeout: time.Second, Retry: webhook.Schedule(time.Hour)}
				b := start(t, cfg)
				b.endpoint(webhook.Endpoint{})
				client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Hang: true} })
				for range 300 {
					b.send(webhook.Event{})
				}
				const second = time.Second
				time.Sleep(5*second + second/2)
				b.stop()
				timedOut := client.Count()
				require.Greater(t, timedOut, 10)

				if of == "the process" {
					var err error
					b.Dispatcher, err = webhook.New(b.store, cfg)
					require.NoError(t, err)
				}
				b.run()
				began := time.Now()
				time.Sleep(2*second + second/2)
				counts, _ := rounds(began, client.Requests()[timedOut:])
				require.Equal(t, []int{1, 1, 1}, counts)

				timedOut = client.Count()
				client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: second / 2} })
				time.Sleep(2*second + 3*second/4)
				counts, _ = rounds(began, client.Requests()[timedOut:])
				require.Equal(t, []int{1, 2, 4, 8, 8}, counts)
			})
		})
	}
}

// A backlog in the store, with slow answers, holds up neither what is fresh nor what becomes due elsewhere.
func TestABacklogLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 16, PerEndpoint: 4, Retry: webhook.Schedule(time.Hour)})
		slow := b.endpoint(webhook.Endpoint{State: webhook.EndpointPaused, URL: "https://slow.example/", EventTypes: []string{"backlog"}})
		b.endpoint(webhook.Endpoint{URL: "https://quick.example/", EventTypes: []string{"order.created"}})
		b.client.On("https://slow.example/").Respond(func(webhooktest.Request) webhooktest.Answer {
			return webhooktest.Answer{Delay: time.Second}
		})
		for range 5000 {
			b.send(webhook.Event{Type: "backlog"})
		}
		require.NoError(t, b.UnpauseEndpoint(t.Context(), slow.ID))
		time.Sleep(10 * time.Second)
		for range 100 {
			began := time.Now()
			due := began.Add(time.Second)
			fresh, later := b.send(webhook.Event{}).DeliveryIDs[0], b.send(webhook.Event{DeliverAt: due}).DeliveryIDs[0]
			time.Sleep(2 * time.Second)
			require.WithinDuration(t, began, b.delivery(fresh).Attempts[0].StartedAt, 5*time.Millisecond)
			require.WithinDuration(t, due, b.delivery(later).Attempts[0].StartedAt, 20*time.Millisecond)
		}
		stats, err := b.Stats(t.Context(), webhook.StatsQuery{EndpointID: slow.ID})
		require.NoError(t, err)
		require.Greater(t, stats.Pending, int64(1000), "the backlog was there to the end")
		require.Greater(t, stats.Succeeded, int64(500), "and went on")
	})
}

// What comes in for an endpoint with a backlog is added to it, and more than that goes out, whoever else has
// something fresh.
func TestABacklogShrinksHoweverMuchComesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		busy := b.endpoint(webhook.Endpoint{EventTypes: []string{"busy"}})
		b.endpoint(webhook.Endpoint{EventTypes: []string{"order.created"}})
		due := time.Now().Add(time.Second)
		for range 5000 {
			b.send(webhook.Event{Type: "busy", DeliverAt: due})
		}
		pending := func() int64 {
			stats, err := b.Stats(t.Context(), webhook.StatsQuery{EndpointID: busy.ID})
			require.NoError(t, err)
			return stats.Pending
		}
		const each = 2 * time.Millisecond
		for n := range 12 * time.Second / each {
			b.send(webhook.Event{Type: "busy"})
			if n%250 == 0 {
				b.send(webhook.Event{})
			}
			if n == 2*time.Second/each {
				require.Greater(t, pending(), int64(1000), "there is a backlog")
			}
			time.Sleep(each)
		}
		require.Less(t, pending(), int64(100))
	})
}

// Two processes get more for an endpoint than they have room for, once. Then what they send is handed over again,
// though each finds in the store what the other has put there meanwhile.
func TestProcessesDoNotKeepEachOthersBacklogAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &webhooktest.Client{}
		client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Millisecond} })
		counter := &claimCounter{Store: memory.New(), given: map[string]int{}}
		var sends sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for n := range 2 {
			d, err := webhook.New(&slowClaims{counter, 40 * time.Millisecond}, webhook.Config{HTTPClient: client, Logger: quiet()})
			require.NoError(t, err)
			if n == 0 {
				_, err = d.CreateEndpoint(ctx, webhook.Endpoint{URL: "https://a.example"})
				require.NoError(t, err)
			}
			defer running(t, d)()
			send := func(n int) {
				events := slices.Repeat([]webhook.Event{{Type: "a", Payload: []byte("{}")}}, n)
				if _, err := d.SendBatch(context.WithoutCancel(ctx), events); err != nil {
					t.Errorf("%v", err)
				}
			}
			sends.Go(func() {
				for send(1000); ctx.Err() == nil; send(64) {
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
		window := func() (claimed, attempts int) {
			before, sent := counter.claimed(), client.Count()
			time.Sleep(200 * time.Millisecond)
			return counter.claimed() - before, client.Count() - sent
		}
		claimed, _ := window()
		require.Positive(t, claimed, "there was a backlog")
		attempts := 0
		for n := 0; claimed > 0 && n < 20; n++ { // it may come to that again, but passes
			claimed, attempts = window()
		}
		require.Zero(t, claimed)
		require.Greater(t, attempts, 5000)
		cancel()
		sends.Wait()
	})
}

// A backlog makes way for others' fresh events, not for those of its own endpoint.
func TestABacklogDoesNotMakeWayForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Millisecond} })
		due := time.Now().Add(time.Second)
		for range 1000 {
			b.send(webhook.Event{DeliverAt: due})
		}
		time.Sleep(900 * time.Millisecond)
		b.send(webhook.Event{})
		time.Sleep(300 * time.Millisecond)
		require.Equal(t, 1001, b.client.Count())
	})
}

// Where more comes in for an endpoint than it takes, what has waited in the store for long has its part.
func TestFreshDeliveriesLeaveABacklogItsPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{MaxInFlight: 8})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: 100 * time.Millisecond} })
		for range 2000 {
			b.send(webhook.Event{Payload: []byte("old")})
		}
		time.Sleep(5 * time.Second)
		for range 10_000 {
			b.send(webhook.Event{Payload: []byte("new")})
			time.Sleep(time.Millisecond)
		}
		of := map[string]int{}
		for _, r := range b.client.Requests() {
			if r.At.After(time.Now().Add(-8 * time.Second)) {
				of[string(r.Body)]++
			}
		}
		require.InDelta(t, 640, of["old"]+of["new"], 20)
		require.Greater(t, of["old"], 280, "%v", of)
	})
}
