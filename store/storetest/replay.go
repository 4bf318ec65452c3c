package storetest

import (
	"time"

	"pgregory.net/rapid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var replayRules = []rule{
	{name: "adds deliveries to an event that is stored", check: func(w *world) {
		first := w.event(w.endpoint())
		w.store(first)
		w.apply(w.outcome(w.claimOne(), 200))
		w.pass(time.Hour)
		later := w.endpoint()
		n := w.replay(first, later)
		r := w.sendGroups(w.group(n))[0]
		w.Equal(webhook.SendStored, r.Status)
		w.Equal([]webhook.Receipt{{EventID: first.Event.ID, DeliveryIDs: []string{n.Deliveries[0].ID}}}, r.Receipts)
		item := w.get(n.Deliveries[0].ID)
		w.Equal(webhook.StateQueued, item.State)
		w.Equal(w.now, item.CreatedAt)
		w.Equal(first.Event.Type, item.EventType)
		c := w.claimOne()
		w.Equal(n.Deliveries[0].ID, c.DeliveryID)
		w.Equal(later, c.EndpointID)
		w.Equal(first.Event, c.Event)
		w.Equal(webhook.TriggerInitial, c.Trigger)
		w.Equal(w.now, c.CreatedAt)
		w.apply(w.outcome(c, 200))
		w.Equal([]string{n.Deliveries[0].ID}, w.list(webhook.DeliveryQuery{TenantID: acme, Since: w.now}))
		w.Len(w.list(webhook.DeliveryQuery{TenantID: acme, EventID: first.Event.ID}), 2)
	}},
	{name: "never doubles a delivery", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		first := w.event(a)
		old := w.store(first)[0]
		w.apply(w.outcome(w.claimOne(), 200))
		n := w.replay(first, a, b)
		g := w.group(n)
		want := []webhook.Receipt{{EventID: first.Event.ID, DeliveryIDs: []string{old, n.Deliveries[1].ID}}}
		w.Equal(want, w.sendGroups(g)[0].Receipts)
		w.Equal(want, w.sendGroups(g)[0].Receipts, "repeated")
		w.endpoint() // another generation, but there is nothing to be added
		w.Equal(want, w.sendGroups(g)[0].Receipts, "repeated")
		want[0].Duplicate = true
		w.Equal(want, w.sendGroups(w.group(w.replay(first, a, b)))[0].Receipts, "by another call")
		w.Equal(n.Deliveries[1].ID, w.claimOne().DeliveryID)
		w.claimNone()
	}},
	{name: "refuses a replay of another generation", check: func(w *world) {
		first := w.event(w.endpoint())
		w.store(first)
		n := w.replay(first, w.endpoint())
		g := w.group(n)
		w.setState(n.Deliveries[0].EndpointID, webhook.EndpointDeleted)
		w.Equal(webhook.SendStale, w.sendGroups(g)[0].Status)
		_, err := w.s.GetDelivery(w.ctx, w.now, n.Deliveries[0].ID)
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "refuses to replay what is not there or erased", check: func(w *world) {
		e := w.endpoint()
		n := w.replay(w.event(e), e)
		w.Equal(webhook.SendGone, w.sendGroups(w.group(n))[0].Status)
		first := w.event()
		w.store(first)
		w.erase(webhook.EraseRequest{EventID: first.Event.ID})
		n = w.replay(first, e)
		w.Equal(webhook.SendGone, w.sendGroups(w.group(n))[0].Status)
		w.claimNone()
		w.Empty(w.list(webhook.DeliveryQuery{AllTenants: true}))
	}},
	{name: "keeps an event with what was added to it", check: func(w *world) {
		first := w.event(w.endpoint())
		old := w.store(first)[0]
		w.apply(w.outcome(w.claimOne(), 200))
		w.pass(time.Hour)
		added := w.store(w.replay(first, w.endpoint()))[0]
		w.prune(webhook.PruneRequest{FinishedBefore: w.now})
		_, err := w.s.GetDelivery(w.ctx, w.now, old)
		w.ErrorIs(err, webhook.ErrNotFound)
		w.Equal(added, w.claimOne().DeliveryID)
	}},
}

// replay makes new deliveries of an event, due now.
func (w *world) replay(of webhook.NewEvent, endpointIDs ...string) webhook.NewEvent {
	n := w.event(endpointIDs...)
	n.Event, n.Replay = webhook.Event{ID: of.Event.ID, TenantID: of.Event.TenantID}, true
	return n
}

func (m *model) replay(n webhook.NewEvent, generation int64, now time.Time) webhook.SendResult {
	e := m.event(n.Event.ID)
	if e == nil {
		return webhook.SendResult{Status: webhook.SendGone}
	}
	r := webhook.Receipt{EventID: e.ID, DeliveryIDs: []string{}, Duplicate: true}
	var missing []webhook.NewDelivery
	for _, nd := range n.Deliveries {
		deliveryID := nd.ID
		if d := m.deliveryOf(e, nd.EndpointID); d != nil {
			deliveryID = d.id
		} else {
			missing = append(missing, nd)
		}
		r.Duplicate = r.Duplicate && deliveryID != nd.ID
		r.DeliveryIDs = append(r.DeliveryIDs, deliveryID)
	}
	switch {
	case missing != nil && e.ErasedAt != nil:
		return webhook.SendResult{Status: webhook.SendGone}
	case missing != nil && generation != m.generation:
		return webhook.SendResult{Status: webhook.SendStale}
	}
	for _, nd := range missing {
		m.add(e, nd, now, now)
	}
	return webhook.SendResult{Status: webhook.SendStored, Receipts: []webhook.Receipt{r}}
}

func (m *model) deliveryOf(e *modelEvent, endpointID string) *modelDelivery {
	for _, d := range m.deliveries {
		if d.event == e && d.endpoint.ID == endpointID {
			return d
		}
	}
	return nil
}

// replaySome sends an event again to some endpoints of its tenant.
func (x *machine) replaySome(rt *rapid.T) {
	if len(x.m.events) == 0 {
		rt.Skip("nothing was sent")
	}
	x.tick()
	e := oneOf(rt, "event", x.m.events...)
	n := webhook.NewEvent{Replay: true, Event: webhook.Event{ID: e.ID, TenantID: e.TenantID}}
	for _, to := range x.m.endpoints {
		if to.TenantID == e.TenantID && !to.erased && !to.Deleted() && chance(rt, 2, "to this endpoint") {
			n.Deliveries = append(n.Deliveries, webhook.NewDelivery{
				ID: x.call("d", x.newID(id.Delivery)), EndpointID: to.ID, DueAt: x.now,
			})
		}
	}
	g := webhook.SendGroup{Generation: x.m.generation, Events: []webhook.NewEvent{n}}
	if chance(rt, 10, "stale") {
		g.Generation--
	}
	x.step(rt, "replay %s to %s, generation %d", e.ID, x.targets(n), g.Generation)
	got := x.commit(webhook.Batch{Sends: []webhook.SendGroup{g}}).Sends[0]
	x.Equal(x.m.send(g, x.now), plainResult(got), "replay")
	if got.Status == webhook.SendStored && chance(rt, 4, "repeat") {
		again := x.commit(webhook.Batch{Sends: []webhook.SendGroup{g}}).Sends[0]
		x.Equal(plainResult(got), plainResult(again), "replay, again")
	}
}
