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
		time.Sleep(time.Hour + 2*time.Second)
		_, err := b.GetDelivery(ctx, r.DeliveryIDs[0])
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
