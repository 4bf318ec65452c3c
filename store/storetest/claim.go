package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

var claimRules = []rule{
	{name: "returns what is due with all that an attempt needs", check: func(w *world) {
		e := w.endpoint()
		n := w.event(e)
		n.Event.Attributes, n.Event.Headers = map[string]string{"a": "b"}, map[string]string{"X-A": "b"}
		n.Event.ExpiresAt, n.Event.TraceContext = w.now.Add(time.Hour), "trace"
		w.store(n)
		w.pass(time.Second)
		r := w.claimAs(w.request(1))
		w.Equal([]webhook.Claim{{
			DeliveryID: n.Deliveries[0].ID, EndpointID: e, Event: n.Event, Lease: 1, LeaseUntil: w.now.Add(leaseTime),
			AttemptNumber: 1, Trigger: webhook.TriggerInitial, DueAt: start, CreatedAt: start,
		}}, r.Claims)
		w.Empty(r.Interrupted)
		w.Equal(w.generation(), r.Generation)
		item := w.get(n.Deliveries[0].ID)
		w.Equal(webhook.StateSending, item.State)
		w.Equal(w.now, item.UpdatedAt)
		w.Equal(start, *item.DueAt, "views show when it was due, never the end of the lease")
	}},
	{name: "returns nothing before it is due", check: func(w *world) {
		n := w.event(w.endpoint())
		n.Deliveries[0].DueAt = w.now.Add(time.Hour)
		w.store(n)
		w.Equal(webhook.StateScheduled, w.state(n.Deliveries[0].ID))
		r := w.claimAs(w.request(10))
		w.Empty(r.Claims)
		w.False(r.NextDue.IsZero())
		w.False(r.NextDue.After(n.Deliveries[0].DueAt))
		w.pass(time.Hour - time.Microsecond)
		w.claimNone()
		w.pass(time.Microsecond)
		w.claimOne()
	}},
	{name: "returns nothing that is leased, until the lease ends", check: func(w *world) {
		w.send(w.endpoint())
		w.claimOne()
		w.claimNone()
		w.pass(leaseTime - time.Microsecond)
		w.claimNone()
		w.pass(time.Microsecond)
		w.EqualValues(2, w.claimOne().Lease)
	}},
	{name: "returns the longest overdue of an endpoint first", check: func(w *world) {
		e := w.endpoint()
		var want []string
		for i := range 20 {
			n := w.event(e)
			n.Deliveries[0].DueAt = w.now.Add(-time.Duration(i) * time.Second)
			want = slices.Insert(want, 0, w.store(n)[0])
		}
		var got []string
		for range 4 {
			for _, c := range w.claim(5) {
				got = append(got, c.DeliveryID)
			}
		}
		w.Equal(want, got)
	}},
	{name: "returns at most the limit, and no more of an endpoint than allowed", check: func(w *world) {
		a, b, c := w.endpoint(), w.endpoint(), w.endpoint()
		for _, e := range []string{a, b, c} {
			w.sendMany(e, 20)
		}
		w.Len(w.claim(7), 7)
		r := w.request(30)
		r.PerEndpoint, r.Caps = 4, map[string]int{a: 6, b: 0}
		n := count(w.claimAs(r).Claims)
		w.Equal(map[string]int{a: 6, c: 4}, n)
	}},
	{name: "skips excluded endpoints", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		w.sendMany(a, 3)
		w.sendMany(b, 3)
		r := w.request(10)
		r.Exclude = []string{a}
		w.Equal(map[string]int{b: 3}, count(w.claimAs(r).Claims))
		w.Equal(map[string]int{a: 3}, count(w.claim(10)))
	}},
	{name: "skips endpoints that are paused, disabled or deleted", check: func(w *world) {
		for _, state := range []webhook.EndpointState{
			webhook.EndpointPaused, webhook.EndpointDisabled, webhook.EndpointDeleted,
		} {
			e := w.endpoint()
			w.sendMany(e, 3)
			w.setState(e, state)
			r := w.claimAs(w.request(10))
			w.Empty(r.Claims, state)
			w.True(r.NextDue.IsZero(), "%s: what is held is not due", state)
			w.Empty(r.Backlog, state)
		}
	}},
	{name: "returns what was held once its endpoint is released", check: func(w *world) {
		e := w.endpoint()
		w.sendMany(e, 3)
		w.setState(e, webhook.EndpointPaused)
		w.claimNone()
		w.pass(time.Second)
		w.setState(e, webhook.EndpointEnabled)
		w.pass(time.Second)
		w.send(e)
		triggers := map[webhook.Trigger]int{}
		for _, c := range w.claim(10) {
			triggers[c.Trigger]++
		}
		w.Equal(map[webhook.Trigger]int{webhook.TriggerUnpause: 3, webhook.TriggerInitial: 1}, triggers)
	}},
	{name: "records a lost attempt under the trigger it was claimed with", check: func(w *world) {
		e := w.endpoint()
		w.send(e)
		w.setState(e, webhook.EndpointPaused)
		w.pass(time.Second)
		w.setState(e, webhook.EndpointEnabled)
		w.Equal(webhook.TriggerUnpause, w.claimOne().Trigger)
		w.pass(leaseTime)
		r := w.claimAs(w.request(1))
		w.Len(r.Interrupted, 1)
		w.Equal(webhook.TriggerUnpause, r.Interrupted[0].Trigger)
	}},
	{name: "keeps a user's trigger through a release", check: func(w *world) {
		e := w.endpoint()
		deliveryID := w.send(e)
		w.setState(e, webhook.EndpointPaused)
		w.Equal(webhook.RequeueDone, w.retry(deliveryID))
		w.pass(time.Second)
		w.setState(e, webhook.EndpointEnabled)
		w.Equal(webhook.TriggerManual, w.claimOne().Trigger)
	}},
	{name: "only looks with limit 0", check: func(w *world) {
		w.True(w.claimAs(w.request(0)).NextDue.IsZero(), "an empty store has nothing due")
		deliveryID := w.send(w.endpoint())
		r := w.claimAs(w.request(0))
		w.Empty(r.Claims)
		w.False(r.NextDue.IsZero())
		w.False(r.NextDue.After(w.now))
		w.Equal(webhook.StateQueued, w.state(deliveryID))
		w.claimOne()
		w.pass(leaseTime)
		w.Empty(w.claimAs(w.request(0)).Interrupted)
		w.Empty(w.attempts(deliveryID))
	}},
	{name: "says when to ask again", check: func(w *world) {
		a, b, c := w.endpoint(), w.endpoint(), w.endpoint()
		for i, e := range []string{a, b, c} {
			n := w.event(e)
			n.Deliveries[0].DueAt = w.now.Add(time.Duration(i+1) * time.Minute)
			w.store(n)
		}
		ask := func(r webhook.ClaimRequest, want time.Duration) {
			w.t.Helper()
			got := w.claimAs(r).NextDue
			w.False(got.IsZero())
			w.False(got.After(start.Add(want)), "%s is after %s", got, want)
		}
		ask(w.request(5), time.Minute)
		r := w.request(5)
		r.Exclude = []string{a}
		ask(r, 2*time.Minute)
		r.Caps = map[string]int{b: 0}
		ask(r, 3*time.Minute)
		r.Exclude = []string{a, c}
		w.True(w.claimAs(r).NextDue.IsZero(), "all endpoints are excluded or capped")
	}},
	{name: "does not say now when there is nothing now", check: func(w *world) {
		e, o := w.endpoint(), w.endpoint(ordered)
		ids := w.sendMany(e, 5)
		w.sendMany(o, 5)
		w.cancel(ids[0])
		w.apply(w.outcome(w.claim(1)[0], 500))
		for calls := 0; ; calls++ {
			r := w.claimAs(w.request(3))
			if len(r.Claims) > 0 {
				continue
			}
			if r.NextDue.After(w.now) {
				return
			}
			w.Less(calls, 20, "Claim returns nothing and says %s, which is not after now", r.NextDue)
		}
	}},
	{name: "says that there is more now when the limit cut it short", check: func(w *world) {
		w.sendMany(w.endpoint(), 5)
		r := w.request(3)
		r.PerEndpoint = 4
		got := w.claimAs(r)
		w.Len(got.Claims, 3)
		w.False(got.NextDue.IsZero())
		w.False(got.NextDue.After(w.now))
	}},
	{name: "names endpoints with due deliveries left", check: func(w *world) {
		more, done, later := w.endpoint(), w.endpoint(), w.endpoint()
		w.sendMany(more, 5)
		w.sendMany(done, 2)
		n := w.event(later)
		n.Deliveries[0].DueAt = w.now.Add(time.Hour)
		w.store(n)
		r := w.request(10)
		r.PerEndpoint = 2
		w.Equal([]string{more}, w.claimAs(r).Backlog)
	}},
	{name: "does not let one endpoint's backlog keep others out", check: func(w *world) {
		big := w.endpoint()
		w.sendMany(big, 3000)
		w.pass(time.Second)
		var others []string
		for range 20 {
			e := w.endpoint()
			w.send(e)
			others = append(others, e)
		}
		w.pass(time.Second)
		r := w.request(24)
		r.PerEndpoint = 4
		got := count(w.claimAs(r).Claims)
		w.Equal(4, got[big])
		for _, e := range others {
			w.Equal(1, got[e])
		}
	}},
	{name: "serves every endpoint in the end when limits are short", check: func(w *world) {
		got := map[string]int{}
		for range 10 {
			w.sendMany(w.endpoint(), 4)
			w.pass(time.Millisecond)
		}
		for range 20 {
			r := w.request(2)
			r.PerEndpoint = 1
			for e, n := range count(w.claimAs(r).Claims) {
				got[e] += n
			}
		}
		w.Len(got, 10)
		for _, n := range got {
			w.Equal(4, n)
		}
	}},
	{name: "of an ordered endpoint returns only the first, one at a time", check: func(w *world) {
		e := w.endpoint(ordered)
		ids := w.sendMany(e, 3)
		for _, deliveryID := range ids {
			claims := w.claim(10)
			w.Len(claims, 1)
			w.Equal(deliveryID, claims[0].DeliveryID)
			w.claimNone()
			w.apply(w.outcome(claims[0], 200))
		}
		w.claimNone()
	}},
	{name: "lets an ordered endpoint wait for its first one's retry", check: func(w *world) {
		e := w.endpoint(ordered)
		ids := w.sendMany(e, 2)
		w.apply(w.outcome(w.claimOne(), 500))
		w.pass(time.Minute - time.Microsecond)
		w.claimNone()
		w.pass(time.Microsecond)
		c := w.claimOne()
		w.Equal(ids[0], c.DeliveryID)
		w.apply(w.ended(c, 500, webhook.StateExhausted))
		w.Equal(ids[1], w.claimOne().DeliveryID)
	}},
	{name: "goes by ID, not by due time, on an ordered endpoint", check: func(w *world) {
		e := w.endpoint(ordered)
		first, second := w.event(e), w.event(e)
		first.Deliveries[0].DueAt = w.now.Add(time.Hour)
		w.sendGroups(w.group(first, second))
		w.claimNone()
		w.pass(time.Hour)
		w.Equal(first.Deliveries[0].ID, w.claimOne().DeliveryID)
	}},
	{name: "keeps order when an endpoint becomes ordered with several under way", check: func(w *world) {
		e := w.endpoint()
		ids := w.sendMany(e, 4)
		under := w.claim(2)
		w.update(e, ordered)
		w.claimNone()
		w.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: ids[0], Lease: under[0].Lease}}})
		w.claimNone() // the first is free, but the second is under way
		w.apply(w.outcome(under[1], 200))
		first := w.claimOne()
		w.Equal(ids[0], first.DeliveryID)
		w.apply(w.outcome(first, 200))
		w.Equal(ids[2], w.claimOne().DeliveryID)
		w.update(e, func(row *webhook.EndpointRow) { row.Ordered = false })
		w.Equal(ids[3], w.claimOne().DeliveryID)
	}},
	{name: "records an interrupted attempt for a lease that ran out", check: func(w *world) {
		e := w.endpoint(func(row *webhook.EndpointRow) { row.URL = "https://user:secret@example.com/a?b=c" })
		deliveryID := w.send(e)
		w.pass(time.Second)
		w.claimOne()
		claimed := w.now
		w.pass(leaseTime + 5*time.Millisecond)
		r := w.claimAs(w.request(1))
		w.Len(r.Interrupted, 1)
		a := r.Interrupted[0]
		want := webhook.DeliveryAttempt{
			ID: a.ID, TenantID: acme, EventID: a.EventID, EventType: "order.created", DeliveryID: deliveryID,
			EndpointID: e, AttemptNumber: 1, Trigger: webhook.TriggerInitial, Status: webhook.AttemptInterrupted,
			Method: "POST", URL: "https://example.com/a?b=c", ErrorCode: webhook.CodeInterrupted,
			Error: webhook.InterruptedError, StartedAt: claimed, CompletedAt: w.now,
			DurationMS: leaseTime.Milliseconds() + 5, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt,
		}
		w.Equal(want, a)
		w.Equal([]webhook.DeliveryAttempt{want}, w.attempts(deliveryID))
		c := r.Claims[0]
		w.EqualValues(2, c.Lease)
		w.Equal([]int{2, 0, 1}, []int{c.AttemptNumber, c.Failed, c.Uncharged})
		w.Equal(webhook.TriggerAutomatic, c.Trigger)
		item := w.get(deliveryID)
		w.Equal(1, item.AttemptCount)
		w.Equal(webhook.CodeInterrupted, item.LastErrorCode)
		w.Zero(w.health(e).Failures, "an interruption is not the endpoint's fault")
	}},
	{name: "charges interruptions from the eleventh in a row", check: func(w *world) {
		w.send(w.endpoint())
		c := w.claimOne()
		for i := range 13 {
			w.Equal([]int{max(0, i-10), min(i, 10), i + 1}, []int{c.Failed, c.Uncharged, c.AttemptNumber})
			w.pass(leaseTime)
			c = w.claimOne()
		}
	}},
	{name: "never gives a delivery to two claimers", check: func(w *world) {
		const claimers, perClaimer = 4, 50
		var endpoints []string
		for range 5 {
			e := w.endpoint()
			w.sendMany(e, claimers*perClaimer/5)
			endpoints = append(endpoints, e)
		}
		o := w.endpoint(ordered)
		w.sendMany(o, 10)
		var (
			wg   sync.WaitGroup
			mu   sync.Mutex
			seen = map[string]int{}
		)
		for range claimers {
			wg.Go(func() {
				for range perClaimer {
					r := w.request(3)
					res, err := w.s.Claim(w.ctx, r)
					if err != nil {
						w.t.Errorf("claim: %v", err)
						return
					}
					mu.Lock()
					for _, c := range res.Claims {
						seen[c.DeliveryID]++
						if c.Lease != 1 {
							w.t.Errorf("delivery %s has lease %d", c.DeliveryID, c.Lease)
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		w.Len(seen, claimers*perClaimer+1, "%d endpoints, and one of the ordered one", len(endpoints))
		for deliveryID, n := range seen {
			w.Equal(1, n, "delivery %s", deliveryID)
		}
	}},
}

func count(claims []webhook.Claim) map[string]int {
	n := map[string]int{}
	for _, c := range claims {
		n[c.EndpointID]++
	}
	return n
}
