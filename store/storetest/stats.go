package storetest

import (
	"time"

	"github.com/outhook/webhook"
)

func (w *world) stats(q webhook.StatsQuery) webhook.Stats {
	w.t.Helper()
	s, err := w.s.Stats(w.ctx, w.now, q)
	w.NoError(err)
	return s
}

var statsRules = []rule{
	{name: "counts deliveries by state, endpoint and tenant", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		other := w.endpoint(func(row *webhook.EndpointRow) { row.TenantID = "" })
		n := w.event(other)
		n.Event.TenantID = ""
		w.store(n)
		w.apply(w.outcome(w.claimOne(), 200))
		for _, state := range []webhook.DeliveryState{
			webhook.StateExhausted, webhook.StateGone, webhook.StateExpired, webhook.StateGone,
		} {
			w.send(a)
			w.apply(w.ended(w.claimOne(), 500, state))
		}
		w.cancel(w.send(a))
		w.sendMany(b, 3)
		w.setState(b, webhook.EndpointDisabled)
		w.sendMany(a, 2)

		w.counts(webhook.Stats{Pending: 5, Held: 3, Exhausted: 1, Gone: 2, Canceled: 1, Expired: 1}, webhook.StatsQuery{TenantID: acme})
		w.counts(webhook.Stats{Pending: 2, Exhausted: 1, Gone: 2, Canceled: 1, Expired: 1}, webhook.StatsQuery{TenantID: acme, EndpointID: a})
		w.counts(webhook.Stats{Pending: 3, Held: 3}, webhook.StatsQuery{TenantID: acme, EndpointID: b})
		w.counts(webhook.Stats{Succeeded: 1}, webhook.StatsQuery{})
		w.counts(webhook.Stats{}, webhook.StatsQuery{EndpointID: a})
		w.counts(webhook.Stats{Pending: 5, Held: 3, Succeeded: 1, Exhausted: 1, Gone: 2, Canceled: 1, Expired: 1}, webhook.StatsQuery{AllTenants: true})
		w.counts(webhook.Stats{Pending: 3, Held: 3}, webhook.StatsQuery{AllTenants: true, EndpointID: b})
		w.counts(webhook.Stats{}, webhook.StatsQuery{TenantID: "nobody"})
	}},
	{name: "follows a retry out of a final state", check: func(w *world) {
		deliveryID := w.send(w.endpoint())
		w.apply(w.ended(w.claimOne(), 500, webhook.StateExhausted))
		w.counts(webhook.Stats{Exhausted: 1}, webhook.StatsQuery{TenantID: acme})
		w.retry(deliveryID)
		w.counts(webhook.Stats{Pending: 1}, webhook.StatsQuery{TenantID: acme})
		w.apply(w.outcome(w.claimOne(), 200))
		w.counts(webhook.Stats{Succeeded: 1}, webhook.StatsQuery{TenantID: acme})
	}},
	{name: "tells the oldest due time", check: func(w *world) {
		w.Nil(w.stats(webhook.StatsQuery{TenantID: acme}).OldestDueAt)
		a, b := w.endpoint(), w.endpoint()
		w.send(b)
		w.pass(time.Second)
		w.send(a)
		future := w.event(a)
		future.Deliveries[0].DueAt = w.now.Add(time.Hour)
		w.store(future)
		w.Equal(&start, w.stats(webhook.StatsQuery{TenantID: acme}).OldestDueAt)
		w.Equal(w.now, *w.stats(webhook.StatsQuery{TenantID: acme, EndpointID: a}).OldestDueAt)
		w.Len(w.claim(2), 2)
		w.Nil(w.stats(webhook.StatsQuery{TenantID: acme}).OldestDueAt, "none waits for its turn")
	}},
	{name: "counts attempts by the hour they completed in", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		w.now = start.Truncate(time.Hour)
		first := w.now
		attempt := func(e string, code int, ms int64) {
			w.t.Helper()
			w.send(e)
			c := w.claimOne()
			o := w.ended(c, code, webhook.StateExhausted)
			if code == 200 {
				o = w.outcome(c, 200)
			}
			o.Attempt.DurationMS = ms
			w.apply(o)
			w.finish(o)
		}
		attempt(a, 200, 5)
		attempt(a, 200, 6)
		attempt(b, 500, 10_000)
		attempt(a, 500, 10_001)
		attempt(a, 0, 7)
		w.pass(2 * time.Hour)
		attempt(a, 200, 0)

		hours := w.stats(webhook.StatsQuery{TenantID: acme}).Hours
		w.Equal([]webhook.HourStats{
			{Start: first, Succeeded: 2, Failed: 3, Latency: [12]int64{0: 1, 1: 1, 10: 1, 11: 1}},
			{Start: first.Add(2 * time.Hour), Succeeded: 1, Latency: [12]int64{0: 1}},
		}, hours)
		w.Equal([]webhook.HourStats{{Start: first, Failed: 1, Latency: [12]int64{10: 1}}},
			w.stats(webhook.StatsQuery{TenantID: acme, EndpointID: b}).Hours)
		w.Equal(hours[1:], w.stats(webhook.StatsQuery{TenantID: acme, Since: first.Add(time.Hour)}).Hours)
		w.Equal(hours[:1], w.stats(webhook.StatsQuery{TenantID: acme, Until: first.Add(time.Hour)}).Hours)
		w.Equal(hours, w.stats(webhook.StatsQuery{AllTenants: true}).Hours)
		w.pass(48 * time.Hour)
		w.Empty(w.stats(webhook.StatsQuery{TenantID: acme}).Hours, "24 hours by default")
		w.Equal(hours, w.stats(webhook.StatsQuery{TenantID: acme, Since: first}).Hours)
	}},
	{name: "counts no interruption until its result arrives", check: func(w *world) {
		w.send(w.endpoint())
		late := w.claimOne()
		w.pass(leaseTime)
		w.claimOne()
		w.Empty(w.stats(webhook.StatsQuery{TenantID: acme}).Hours)
		w.finish(w.outcome(late, 500))
		hours := w.stats(webhook.StatsQuery{TenantID: acme}).Hours
		w.Len(hours, 1)
		w.EqualValues(1, hours[0].Failed)
	}},
}

// counts checks the counts by state.
func (w *world) counts(want webhook.Stats, q webhook.StatsQuery) {
	w.t.Helper()
	got := w.stats(q)
	got.OldestDueAt, got.Hours = nil, nil
	w.Equal(want, got)
}
