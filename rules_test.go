package webhook_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// The rules of the queue, each to the second of virtual time.

func TestTheRateLimitSpacesAttemptsAndCountsThemAsDeferred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{RateLimit: 4})
		began := time.Now()
		var ids []string
		for range 400 {
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		time.Sleep(2 * time.Minute)
		requests := b.client.Requests()
		require.Len(t, requests, 400)
		for n, r := range requests {
			require.WithinDuration(t, began.Add(time.Duration(n)*250*time.Millisecond), r.At, time.Second, "request %d", n)
		}
		deferred := 0
		for _, id := range ids {
			d := b.delivery(id)
			require.Equal(t, 1, d.AttemptCount)
			deferred += d.DeferralCount
		}
		require.InDelta(t, 399, deferred, 10, "all but the first had to wait")
	})
}

func TestAFailingHeadHoldsUpItsFollowersUntilItIsExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Minute, time.Minute)})
		b.endpoint(webhook.Endpoint{Ordered: true})
		b.client.Script(500, 500, 500)
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Second} })
		began := time.Now()
		for n := range 5 {
			b.send(webhook.Event{Payload: fmt.Appendf(nil, "%d", n)})
		}
		time.Sleep(5 * time.Minute)
		want := []struct {
			body string
			at   time.Duration
		}{{"0", 0}, {"0", time.Minute}, {"0", 2 * time.Minute}, {"1", 120 * time.Second}, {"2", 121 * time.Second},
			{"3", 122 * time.Second}, {"4", 123 * time.Second}}
		requests := b.client.Requests()
		require.Len(t, requests, len(want))
		for n, r := range requests {
			require.Equal(t, want[n].body, string(r.Body))
			require.WithinDuration(t, began.Add(want[n].at), r.At, 500*time.Millisecond, "request %d", n)
		}
	})
}

func TestDeliverAtIsKeptAndExpiresAtEndsTheRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Minute, time.Minute, time.Minute)})
		b.endpoint(webhook.Endpoint{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		due := time.Now().Add(36 * time.Hour)
		id := b.send(webhook.Event{DeliverAt: due, ExpiresAt: due.Add(90 * time.Second)}).DeliveryIDs[0]
		time.Sleep(36*time.Hour - time.Second)
		require.Equal(t, webhook.StateScheduled, b.delivery(id).State)
		require.Zero(t, b.client.Count())
		time.Sleep(2*time.Minute - time.Second)
		require.Equal(t, webhook.StatusPending, b.delivery(id).Status)
		time.Sleep(3 * time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExpired, d.State)
		require.Equal(t, webhook.CodeCancelledPastRetention, d.FailureCode)
		require.Len(t, d.Attempts, 2, "the third would have come after it expired")
		require.WithinDuration(t, due, d.Attempts[0].StartedAt, time.Second)
		require.WithinDuration(t, due.Add(time.Minute), d.Attempts[1].StartedAt, time.Second)
		require.WithinDuration(t, due.Add(2*time.Minute), d.UpdatedAt, time.Second)
	})
}

func TestAReleaseBeginsWithOneAndGrowsWithSuccesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 32, PerEndpoint: 8})
		e := b.endpoint(webhook.Endpoint{State: webhook.EndpointPaused})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: time.Second} })
		for range 200 {
			b.send(webhook.Event{})
		}
		time.Sleep(24 * time.Hour)
		require.Zero(t, b.client.Count())
		require.NoError(t, b.UnpauseEndpoint(t.Context(), e.ID))
		var began []int
		time.Sleep(500 * time.Millisecond)
		for before := 0; len(began) < 4; time.Sleep(time.Second) {
			began = append(began, b.client.Count()-before)
			before += began[len(began)-1]
		}
		require.Equal(t, []int{1, 2}, began[:2])
		for _, n := range began[2:] {
			require.Greater(t, n, 2, "%v", began)
			require.LessOrEqual(t, n, 8, "%v: doubling with each success up to its share", began)
		}
		require.NoError(t, b.Idle(t.Context()))
		for item, err := range b.Deliveries(t.Context(), webhook.DeliveryQuery{}) {
			require.NoError(t, err)
			require.Equal(t, webhook.StateSucceeded, item.State)
			require.Equal(t, webhook.TriggerUnpause, b.delivery(item.ID).Attempts[0].Trigger)
		}
	})
}

func TestAReleaseThatMeetsTimeoutsStaysWithOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 32, PerEndpoint: 8, AttemptTimeout: time.Second})
		e := b.endpoint(webhook.Endpoint{State: webhook.EndpointPaused})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Hang: true} })
		for range 100 {
			b.send(webhook.Event{})
		}
		require.NoError(t, b.UnpauseEndpoint(t.Context(), e.ID))
		time.Sleep(9500 * time.Millisecond)
		require.Equal(t, 10, b.client.Count())
	})
}

func TestDisablingNeedsTimeAndCount(t *testing.T) {
	const hours = 48
	for name, c := range map[string]struct {
		exhausted int
		at        time.Duration // of the disabling
	}{
		"time decides":  {exhausted: 3, at: hours * time.Hour},
		"count decides": {exhausted: 60, at: 59 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, webhook.Config{Retry: webhook.Schedule(), DisableExhausted: c.exhausted, DisableAfter: hours * time.Hour})
				b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
				e := b.endpoint(webhook.Endpoint{})
				for n := time.Duration(0); ; n += time.Hour {
					b.send(webhook.Event{})
					synctest.Wait()
					time.Sleep(time.Second)
					got, err := b.GetEndpoint(t.Context(), e.ID)
					require.NoError(t, err)
					if n < c.at {
						require.Equal(t, webhook.EndpointEnabled, got.State, "after %v", n)
					} else {
						require.Equal(t, webhook.EndpointDisabled, got.State, "after %v", n)
						require.Contains(t, got.DisabledReason, "failures since")
						return
					}
					time.Sleep(time.Hour - time.Second)
				}
			})
		})
	}
}

// The defaults, to the second: five days of nothing but failures, and ten exhausted deliveries.
func TestTheDefaultsOfDisabling(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct{ gap, at time.Duration }{
		"five days":     {gap: 12 * time.Hour, at: 5 * day}, // the tenth was exhausted after four and a half
		"ten exhausted": {gap: 16 * time.Hour, at: 6 * day}, // the fifth day ended after the eighth
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watch := &watcher{}
				b := start(t, webhook.Config{Retry: webhook.Schedule(), Observer: watch, PollInterval: time.Hour})
				b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
				e := b.endpoint(webhook.Endpoint{})
				began := time.Now()
				for since := time.Duration(0); since < 8*day; since += c.gap {
					b.send(webhook.Event{})
					time.Sleep(c.gap)
				}
				got, err := b.GetEndpoint(t.Context(), e.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.EndpointDisabled, got.State)
				require.WithinDuration(t, began.Add(c.at), got.UpdatedAt, time.Second)
				require.Len(t, watch.kinds(webhook.NoticeEndpointDisabled), 1)
				require.Equal(t, int(c.at/c.gap)+1, b.client.Count(), "what came later is held")

				enabled := time.Now()
				require.NoError(t, b.EnableEndpoint(t.Context(), e.ID))
				time.Sleep(5*day - time.Minute)
				got, err = b.GetEndpoint(t.Context(), e.ID)
				require.NoError(t, err)
				require.Equal(t, webhook.EndpointEnabled, got.State, "past failures are forgotten")
				require.Equal(t, int(8*day/c.gap), b.client.Count(), "what was held went out at once")
				last := b.client.Requests()[b.client.Count()-1]
				require.WithinDuration(t, enabled, last.At, time.Second)
			})
		})
	}
}

// What is held, is held for as long as its endpoint is, however long after Retention, with event, payload
// and key. ExpiresAt ends it all the same.
func TestWhatIsHeldOutlivesRetention(t *testing.T) {
	const day = 24 * time.Hour
	for name, hold := range map[string]func(*webhook.Dispatcher, string) (release func() error, err error){
		"paused": func(d *webhook.Dispatcher, endpointID string) (func() error, error) {
			return func() error { return d.UnpauseEndpoint(t.Context(), endpointID) }, d.PauseEndpoint(t.Context(), endpointID)
		},
		"disabled": func(d *webhook.Dispatcher, endpointID string) (func() error, error) {
			return func() error { return d.EnableEndpoint(t.Context(), endpointID) }, d.DisableEndpoint(t.Context(), endpointID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, webhook.Config{
					Retention: day, DetailRetention: time.Hour, Retry: webhook.Schedule(time.Minute), PollInterval: time.Hour,
				})
				ctx := t.Context()
				e := b.endpoint(webhook.Endpoint{})
				done := b.send(webhook.Event{}).DeliveryIDs[0]
				require.NoError(t, b.Idle(ctx))
				b.client.Script(500)
				tried := b.send(webhook.Event{}).DeliveryIDs[0]
				require.NoError(t, b.Idle(ctx))
				release, err := hold(b.Dispatcher, e.ID)
				require.NoError(t, err)
				keyed := webhook.Event{IdempotencyKey: "k", Payload: []byte("kept")}
				fresh := b.send(keyed)
				expires := time.Now().Add(2*day + 30*time.Minute)
				expiring := b.send(webhook.Event{ExpiresAt: expires}).DeliveryIDs[0]

				time.Sleep(2 * day)
				require.Equal(t, webhook.StateHeld, b.delivery(expiring).State)
				time.Sleep(98 * day)
				_, err = b.GetDelivery(ctx, done)
				require.ErrorIs(t, err, webhook.ErrNotFound)
				_, err = b.GetDelivery(ctx, expiring)
				require.ErrorIs(t, err, webhook.ErrNotFound, "it expired, and then retention took it")
				d := b.delivery(tried)
				require.Equal(t, webhook.StateHeld, d.State)
				require.NotNil(t, d.Attempts[0].DetailPrunedAt)
				require.Equal(t, "kept", string(b.delivery(fresh.DeliveryIDs[0]).Event.Payload))
				require.True(t, b.send(keyed).Duplicate)

				released, before := time.Now(), b.client.Count()
				require.NoError(t, release())
				time.Sleep(time.Second)
				require.Equal(t, 2, b.client.Count()-before)
				for _, id := range []string{tried, fresh.DeliveryIDs[0]} {
					d := b.delivery(id)
					last := d.Attempts[len(d.Attempts)-1]
					require.Equal(t, webhook.StateSucceeded, d.State)
					require.Equal(t, webhook.TriggerUnpause, last.Trigger)
					require.WithinDuration(t, released, last.StartedAt, time.Second)
				}
				time.Sleep(day - 2*time.Second)
				require.Equal(t, webhook.StateSucceeded, b.delivery(tried).State, "retention counts from the end")
				time.Sleep(time.Hour + 2*time.Second)
				_, err = b.GetDelivery(ctx, tried)
				require.ErrorIs(t, err, webhook.ErrNotFound)
			})
		})
	}
}

func TestWhatExpiresWhileHeldEndsWithinAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{State: webhook.EndpointPaused})
		expires := time.Now().Add(90 * time.Minute)
		id := b.send(webhook.Event{ExpiresAt: expires}).DeliveryIDs[0]
		time.Sleep(90*time.Minute - time.Second)
		require.Equal(t, webhook.StateHeld, b.delivery(id).State)
		time.Sleep(time.Hour + 2*time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExpired, d.State)
		require.Equal(t, webhook.CodeCancelledPastRetention, d.FailureCode)
		require.WithinRange(t, d.UpdatedAt, expires, expires.Add(time.Hour))
		require.Empty(t, d.Attempts)
	})
}

func TestASuccessForgivesWhatWentBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(), DisableExhausted: 2, DisableAfter: 10 * time.Hour})
		e := b.endpoint(webhook.Endpoint{})
		for n := range 40 {
			if b.client.Script(500); n%9 == 8 {
				b.client.Script(200)
				b.send(webhook.Event{})
			}
			b.send(webhook.Event{})
			time.Sleep(time.Hour)
		}
		got, err := b.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointEnabled, got.State)
	})
}

func TestRetentionTakesDetailAfterSevenDaysAndRowsAfterNinety(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{PollInterval: time.Hour})
		ctx := t.Context()
		orphan := b.send(webhook.Event{})
		require.Empty(t, orphan.DeliveryIDs)
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Body: "thanks"})
		r := b.send(webhook.Event{})
		pending := b.send(webhook.Event{DeliverAt: time.Now().Add(200 * 24 * time.Hour)}).DeliveryIDs[0]
		began := time.Now()
		const day = 24 * time.Hour
		time.Sleep(7*day - time.Second)
		require.Equal(t, "thanks", *b.delivery(r.DeliveryIDs[0]).Attempts[0].ResponseBodyPreview)
		time.Sleep(time.Hour + time.Second) // it looks every hour
		a := b.delivery(r.DeliveryIDs[0]).Attempts[0]
		require.Nil(t, a.ResponseBodyPreview)
		require.Nil(t, a.ResponseHeaders)
		require.Nil(t, a.RequestHeaders)
		require.WithinDuration(t, began.Add(7*day+30*time.Minute), *a.DetailPrunedAt, 31*time.Minute)
		require.Equal(t, 200, *a.StatusCode)

		time.Sleep(83*day - time.Hour - time.Second)
		require.Equal(t, webhook.StateSucceeded, b.delivery(r.DeliveryIDs[0]).State)
		_, err := b.GetEvent(ctx, orphan.EventID)
		require.NoError(t, err)
		time.Sleep(time.Hour + 2*time.Second)
		_, err = b.GetEvent(ctx, orphan.EventID)
		require.ErrorIs(t, err, webhook.ErrNotFound, "nobody ever wanted it")
		_, err = b.GetDelivery(ctx, r.DeliveryIDs[0])
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = b.GetEvent(ctx, r.EventID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		attempts, err := b.ListAttempts(ctx, webhook.AttemptQuery{})
		require.NoError(t, err)
		require.Empty(t, attempts)
		require.Equal(t, webhook.StateScheduled, b.delivery(pending).State, "what is pending stays")
	})
}

func TestRetentionIsOffOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retention: -1, DetailRetention: -1, PollInterval: time.Hour})
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Body: "thanks"})
		r := b.send(webhook.Event{})
		time.Sleep(400 * 24 * time.Hour)
		require.Equal(t, "thanks", *b.delivery(r.DeliveryIDs[0]).Attempts[0].ResponseBodyPreview)
	})
}
