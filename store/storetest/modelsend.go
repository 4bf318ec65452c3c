package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

func (x *machine) sendEvents(rt *rapid.T) {
	x.tick()
	b := webhook.Batch{Now: x.now}
	for range number(rt, 1, 2, "groups") {
		g := webhook.SendGroup{Generation: x.m.generation}
		if chance(rt, 10, "stale") {
			g.Generation--
		}
		for range number(rt, 1, 3, "events") {
			g.Events = append(g.Events, x.draw(rt))
		}
		b.Sends = append(b.Sends, g)
	}
	x.commitSends(rt, b)
	x.groups = append(x.groups, b.Sends...)
}

// draw makes a random event for some endpoints of its tenant.
func (x *machine) draw(rt *rapid.T) webhook.NewEvent {
	n := x.event()
	x.call("v", n.Event.ID)
	n.Event.TenantID = oneOf(rt, "tenant", acme, acme, "")
	n.Event.Type = oneOf(rt, "type", "order.created", "order.paid")
	if chance(rt, 3, "with key") {
		n = keyed(n, oneOf(rt, "key", "k1", "k2"), oneOf(rt, "fingerprint", "f", "f", "g"))
	}
	if chance(rt, 3, "with attributes") {
		n.Event.Attributes = map[string]string{"a": oneOf(rt, "attribute", "1", "2")}
	}
	if chance(rt, 4, "expires") {
		n.Event.ExpiresAt = x.now.Add(oneOf(rt, "expires in", time.Minute, time.Hour))
	}
	due, lease := x.now, false
	if chance(rt, 4, "later") {
		due = x.now.Add(oneOf(rt, "due in", time.Second, time.Minute))
	} else {
		lease = chance(rt, 3, "handed over")
	}
	for _, e := range x.m.endpoints {
		if e.TenantID == n.Event.TenantID && !e.erased && !e.Deleted() && chance(rt, 2, "to this endpoint") {
			n.Deliveries = append(n.Deliveries, webhook.NewDelivery{
				ID: x.call("d", x.newID(id.Delivery)), EndpointID: e.ID, DueAt: due,
			})
		}
	}
	if lease {
		n = x.leased(n, "me")
	}
	return n
}

func (x *machine) commitSends(rt *rapid.T, b webhook.Batch) {
	for _, g := range b.Sends {
		for _, n := range g.Events {
			x.step(rt, "send %s, key %q, to %s, generation %d", n.Event.ID, n.Event.IdempotencyKey, x.targets(n), g.Generation)
		}
	}
	got := x.commit(b)
	x.Equal(x.m.generation, got.Generation)
	for i, g := range b.Sends {
		known := map[string]bool{}
		for _, e := range x.m.events {
			known[e.ID] = true
		}
		x.Equal(x.m.send(g, x.now), plainResult(got.Sends[i]), "group %d", i)
		for _, n := range g.Events {
			if x.m.event(n.Event.ID) == nil || known[n.Event.ID] {
				continue
			}
			for j, d := range n.Deliveries {
				if d.LeasedBy != "" {
					x.claims = append(x.claims, &ticket{Claim: handedOver(n, j)})
				}
			}
		}
	}
	if chance(rt, 4, "repeat") {
		again := x.commit(b)
		for i, g := range b.Sends {
			// A refusal is judged anew: a later group of the batch may have taken a key.
			x.Equal(x.m.send(g, x.now), plainResult(again.Sends[i]), "group %d, again", i)
			if got.Sends[i].Status == webhook.SendStored {
				x.Equal(got.Sends[i], again.Sends[i], "group %d, again", i)
			}
		}
	}
}

// plainResult gives receipts without deliveries one form, whatever the store's.
func plainResult(r webhook.SendResult) webhook.SendResult {
	for i := range r.Receipts {
		if r.Receipts[i].DeliveryIDs == nil {
			r.Receipts[i].DeliveryIDs = []string{}
		}
	}
	return r
}

func (x *machine) targets(n webhook.NewEvent) (names []string) {
	for _, d := range n.Deliveries {
		lease := ""
		if d.LeasedBy != "" {
			lease = " leased"
		}
		names = append(names, fmt.Sprintf("%s/%s%s", x.names[d.EndpointID], x.names[d.ID], lease))
	}
	return names
}

// sendAgain repeats an old group of which everything is still there.
func (x *machine) sendAgain(rt *rapid.T) {
	if len(x.groups) == 0 {
		rt.Skip("nothing was sent")
	}
	x.tick()
	g := oneOf(rt, "group", x.groups...)
	for _, n := range g.Events {
		e := x.m.event(n.Event.ID)
		if e == nil || !slices.Equal(x.m.receipt(e).DeliveryIDs, idsOf(n.Deliveries)) {
			rt.Skip("not all of it is there, or more")
		}
	}
	x.commitSends(rt, webhook.Batch{Now: x.now, Sends: []webhook.SendGroup{g}})
}

func idsOf(deliveries []webhook.NewDelivery) []string {
	ids := make([]string, len(deliveries))
	for i, d := range deliveries {
		ids[i] = d.ID
	}
	return ids
}
