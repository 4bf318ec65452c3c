package storetest

import (
	"time"

	"github.com/outhook/webhook"
)

// earlyRules are about ClaimRequest.Early.
var earlyRules = []rule{
	{name: "claims a retry ahead of its time where that is asked for", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		ids := w.sendMany(a, 3)
		other := w.send(b)
		for _, c := range w.claim(10) {
			w.pass(time.Second)
			w.apply(w.outcome(c, 500))
		}
		first := w.get(ids[0])
		r := w.request(10)
		r.Early = map[string]int{a: 2}
		got := w.claimAs(r)
		w.Len(got.Claims, 2)
		for i, c := range got.Claims {
			w.NotEqual(other, c.DeliveryID)
			w.Equal(webhook.TriggerAutomatic, c.Trigger)
			w.Equal(*w.get(ids[i]).DueAt, c.DueAt, "soonest first, and due when it was")
			w.Equal(2, c.AttemptNumber)
		}
		w.Equal(first.DueAt, w.get(ids[0]).DueAt)
		w.Equal(webhook.StateSending, w.state(ids[0]))
		w.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: ids[0], Lease: got.Claims[0].Lease}}})
		w.Equal(webhook.StateScheduled, w.state(ids[0]))
		w.claimNone()
		w.apply(w.outcome(got.Claims[1], 200))
		w.pass(time.Minute)
		w.Len(w.claim(10), 3)
	}},
	{name: "takes ahead of its time only what waits for a retry", check: func(w *world) {
		e := w.endpoint()
		n := w.event(e)
		n.Deliveries[0].DueAt = w.now.Add(time.Hour)
		w.store(n)
		failed := w.send(e)
		w.apply(w.outcome(w.claimOne(), 500))
		r := w.request(10)
		r.Early = map[string]int{e: 5}
		got := w.claimAs(r)
		w.Len(got.Claims, 1)
		w.Equal(failed, got.Claims[0].DeliveryID)
		w.Empty(w.claimAs(r).Claims, "it is leased, and the other waits for its time")
	}},
	{name: "takes what is due before what is not", check: func(w *world) {
		e := w.endpoint()
		early := w.send(e)
		w.apply(w.outcome(w.claimOne(), 500))
		due := w.send(e)
		r := w.request(10)
		r.Early, r.PerEndpoint = map[string]int{e: 5}, 1
		w.Equal(due, w.claimAs(r).Claims[0].DeliveryID)
		w.Equal(early, w.claimAs(r).Claims[0].DeliveryID)
	}},
	{name: "takes nothing ahead of its time of what is paused, excluded or capped", check: func(w *world) {
		e := w.endpoint()
		w.send(e)
		w.apply(w.outcome(w.claimOne(), 500))
		r := w.request(10)
		r.Early = map[string]int{e: 5, "we_unknown": 1}
		r.Exclude = []string{e}
		w.Empty(w.claimAs(r).Claims)
		r.Exclude, r.Caps = nil, map[string]int{e: 0}
		w.Empty(w.claimAs(r).Claims)
		r.Caps, r.Limit = nil, 0
		w.Empty(w.claimAs(r).Claims)
		r.Limit = 10
		w.setState(e, webhook.EndpointPaused)
		w.Empty(w.claimAs(r).Claims)
	}},
	{name: "takes only the head of an ordered endpoint ahead of its time", check: func(w *world) {
		e := w.endpoint(ordered)
		ids := w.sendMany(e, 2)
		w.apply(w.outcome(w.claimOne(), 500))
		r := w.request(10)
		r.Early = map[string]int{e: 5}
		got := w.claimAs(r)
		w.Len(got.Claims, 1)
		w.Equal(ids[0], got.Claims[0].DeliveryID)
		w.Empty(w.claimAs(r).Claims)
		w.apply(w.outcome(got.Claims[0], 200))
		w.Equal(ids[1], w.claimOne().DeliveryID)
	}},
}

// mayGoEarly reports whether d may be claimed although it is not due.
func (m *model) mayGoEarly(d *modelDelivery, now time.Time) bool {
	if !d.pending || d.leasedBy != "" || d.trigger != webhook.TriggerAutomatic || d.endpoint.State != webhook.EndpointEnabled {
		return false
	}
	for _, other := range m.deliveries {
		if d.endpoint.Ordered && other.endpoint == d.endpoint && (other.leased(now) || other.pending && other.id < d.id) {
			return false
		}
	}
	return true
}
