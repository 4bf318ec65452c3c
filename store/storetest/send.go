package storetest

import (
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var sendRules = []rule{
	{name: "keeps an event as it was given", check: func(w *world) {
		e := w.endpoint()
		n := w.event(e)
		n.Event = webhook.Event{
			ID: n.Event.ID, TenantID: acme, Type: "a.b-c_D", Payload: []byte("{ \"b\":1,\n\"a\":2}"),
			ContentType: "application/cloudevents+json", Attributes: map[string]string{"k": "v", "": "empty"},
			Headers: map[string]string{"X-One": "1"}, EndpointIDs: []string{e}, TraceContext: "00-0af7-b7ad-01",
			DeliverAt: w.now.Add(time.Hour), ExpiresAt: w.now.Add(2 * time.Hour), CreatedAt: w.now,
		}
		w.store(n)
		got, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		w.Equal(n.Event, got)
	}},
	{name: "keeps payloads byte for byte, an empty one too", check: func(w *world) {
		every := make([]byte, 1024)
		for i := range every {
			every[i] = byte(i)
		}
		for _, payload := range [][]byte{{}, {0}, every, []byte("\xff\xfe not UTF-8"), make([]byte, 300_000)} {
			n := w.event(w.endpoint())
			n.Event.Payload = payload
			w.store(n)
			got, err := w.s.GetEvent(w.ctx, n.Event.ID)
			w.NoError(err)
			w.NotNil(got.Payload)
			w.Nil(got.ErasedAt)
			w.True(string(payload) == string(got.Payload))
			claimed := w.claimOne()
			w.NotNil(claimed.Event.Payload)
			w.True(string(payload) == string(claimed.Event.Payload))
			w.apply(w.outcome(claimed, 200))
		}
	}},
	{name: "keeps NUL, quotes and odd Unicode in attributes", check: func(w *world) {
		odd := map[string]string{
			"nul": "a\x00b", "\x00": "key", "quote": `'";--\`, "rtl": "\u202eabc", "bmp": "😀é\u0301", "bom": "\ufeff",
			"percent": "%s_%", "line": "a\r\nb\u2028", "empty": "",
		}
		n := w.event(w.endpoint())
		n.Event.Attributes = odd
		deliveryID := w.store(n)[0]
		w.Equal(odd, w.get(deliveryID).Attributes)
		for k, v := range odd {
			w.Equal([]string{deliveryID}, w.list(webhook.DeliveryQuery{TenantID: acme, Attributes: map[string]string{k: v}}), "%q", k)
			w.Empty(w.list(webhook.DeliveryQuery{TenantID: acme, Attributes: map[string]string{k: v + "x"}}), "%q", k)
		}
		w.Empty(w.list(webhook.DeliveryQuery{TenantID: acme, Attributes: map[string]string{"missing": ""}}))
	}},
	{name: "cuts times to microseconds, in UTC", check: func(w *world) {
		e := w.endpoint()
		zone := time.FixedZone("somewhere", 5*3600)
		fine := w.now.Add(789 * time.Nanosecond).In(zone)
		n := w.event(e)
		n.Event.CreatedAt, n.Event.ExpiresAt, n.Deliveries[0].DueAt = fine, fine.Add(time.Hour), fine
		deliveryID := w.store(n)[0]
		item := w.get(deliveryID)
		w.Equal(w.now, item.CreatedAt)
		w.Equal(w.now, *item.DueAt)
		w.Equal(w.now.Add(time.Hour), *item.ExpiresAt)
		c := w.claimOne()
		w.Equal(w.now, c.DueAt)
		w.Equal(w.now, c.CreatedAt)
		w.Equal(w.now, c.Event.CreatedAt)
	}},
	{name: "keeps an event without deliveries", check: func(w *world) {
		n := w.event()
		r := w.sendGroups(w.group(n))[0]
		w.Equal(webhook.SendStored, r.Status)
		w.Equal(n.Event.ID, r.Receipts[0].EventID)
		w.Empty(r.Receipts[0].DeliveryIDs)
		_, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
	}},
	{name: "gives a receipt for each event, in order", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		one, two := w.event(a, b), w.event(b)
		r := w.sendGroups(w.group(one, two))[0]
		w.Equal(webhook.SendStored, r.Status)
		w.Equal([]webhook.Receipt{
			{EventID: one.Event.ID, DeliveryIDs: []string{one.Deliveries[0].ID, one.Deliveries[1].ID}},
			{EventID: two.Event.ID, DeliveryIDs: []string{two.Deliveries[0].ID}},
		}, r.Receipts)
	}},
	{name: "refuses a group of another generation, and only that", check: func(w *world) {
		e := w.endpoint()
		stale := w.group(w.event(e), w.event(e))
		other := w.endpoint()
		good := w.group(w.event(e, other))
		r := w.commit(webhook.Batch{Sends: []webhook.SendGroup{stale, good}})
		w.Equal(webhook.SendStale, r.Sends[0].Status)
		w.Equal(webhook.SendStored, r.Sends[1].Status)
		w.Equal(w.generation(), r.Generation)
		w.absent(stale.Events...)
		ahead := webhook.SendGroup{Generation: w.generation() + 1, Events: []webhook.NewEvent{w.event(e)}}
		w.Equal(webhook.SendStale, w.sendGroups(ahead)[0].Status)
		w.absent(ahead.Events...)
	}},
	{name: "raises the generation with every change of an endpoint", check: func(w *world) {
		before := w.generation()
		e := w.endpoint()
		w.Greater(w.generation(), before)
		for _, state := range []webhook.EndpointState{
			webhook.EndpointPaused, webhook.EndpointEnabled, webhook.EndpointDisabled, webhook.EndpointDeleted,
		} {
			g := w.group(w.event(e))
			w.setState(e, state)
			w.Equal(webhook.SendStale, w.sendGroups(g)[0].Status, state)
		}
	}},
	{name: "answers a repeated key with the first receipt", check: func(w *world) {
		e := w.endpoint()
		first := keyed(w.event(e, w.endpoint()), "key", "same")
		deliveryIDs := w.store(first)
		again := keyed(w.event(e), "key", "same")
		for _, generation := range []int64{w.generation(), -1} { // nothing is matched, so it may be any
			r := w.sendGroups(webhook.SendGroup{Generation: generation, Events: []webhook.NewEvent{again}})[0]
			w.Equal(webhook.SendStored, r.Status)
			w.Equal([]webhook.Receipt{{EventID: first.Event.ID, DeliveryIDs: deliveryIDs, Duplicate: true}}, r.Receipts)
		}
		w.absent(again)
	}},
	{name: "keeps keys of tenants apart", check: func(w *world) {
		e := w.endpoint()
		w.store(keyed(w.event(e), "key", "one"))
		other := keyed(w.event(), "key", "two")
		other.Event.TenantID = ""
		w.Equal(webhook.SendStored, w.sendGroups(w.group(other))[0].Status)
		w.False(w.sendGroups(w.group(w.event(e)))[0].Receipts[0].Duplicate, "an event without a key is no duplicate")
		w.False(w.sendGroups(w.group(w.event(e)))[0].Receipts[0].Duplicate, "an event without a key is no duplicate")
	}},
	{name: "finds duplicates inside one batch and one group", check: func(w *world) {
		e := w.endpoint()
		first, same, third := keyed(w.event(e), "key", "f"), keyed(w.event(e), "key", "f"), keyed(w.event(e), "key", "f")
		r := w.sendGroups(w.group(first, same), w.group(third))
		want := webhook.Receipt{EventID: first.Event.ID, DeliveryIDs: []string{first.Deliveries[0].ID}}
		dup := want
		dup.Duplicate = true
		w.Equal([]webhook.Receipt{want, dup}, r[0].Receipts)
		w.Equal([]webhook.Receipt{dup}, r[1].Receipts)
		w.absent(same, third)
	}},
	{name: "stores nothing of a group in conflict", check: func(w *world) {
		e := w.endpoint()
		w.store(keyed(w.event(e), "key", "one"))
		good, bad, after := w.event(e), keyed(w.event(e), "key", "two"), keyed(w.event(e), "new", "x")
		r := w.sendGroups(w.group(good, bad, after))[0]
		w.Equal(webhook.SendConflict, r.Status)
		w.Equal(1, r.ConflictAt)
		w.absent(good, bad, after)
		// The key of the group that failed is free.
		w.False(w.sendGroups(w.group(keyed(w.event(e), "new", "y")))[0].Receipts[0].Duplicate)
		inside := w.group(keyed(w.event(e), "k2", "one"), keyed(w.event(e), "k2", "two"))
		r = w.sendGroups(inside)[0]
		w.Equal(webhook.SendConflict, r.Status)
		w.Equal(1, r.ConflictAt)
		w.absent(inside.Events...)
	}},
	{name: "answers a repeated batch as the first time", check: func(w *world) {
		e := w.endpoint()
		w.store(keyed(w.event(e), "taken", "one"))
		b := webhook.Batch{Now: w.now, Sends: []webhook.SendGroup{
			w.group(w.event(e), keyed(w.event(e), "key", "f")),
			w.group(keyed(w.event(e), "key", "f")),
			w.group(w.event(e), keyed(w.event(e), "taken", "two")),
			w.group(w.leased(w.event(e), "me")),
		}}
		first := w.commit(b)
		before := w.list(webhook.DeliveryQuery{TenantID: acme})
		w.Equal(first, w.commit(b))
		w.endpoint() // another generation, but these events are there
		w.Equal(first.Sends[0], w.commit(b).Sends[0])
		w.Equal(first.Sends[3], w.commit(b).Sends[3])
		w.Equal(before, w.list(webhook.DeliveryQuery{TenantID: acme}))
	}},
	{name: "leaves what was done meanwhile when a batch is repeated", check: func(w *world) {
		e := w.endpoint()
		n := w.leased(w.event(e), "me")
		g := w.group(n)
		w.sendGroups(g)
		w.apply(w.outcome(handedOver(n, 0), 200))
		w.Equal(webhook.SendStored, w.sendGroups(g)[0].Status)
		w.Equal(webhook.StateSucceeded, w.state(n.Deliveries[0].ID))
		w.claimNone()
	}},
	{name: "stores or refuses whole a group whose IDs share a key", check: func(w *world) {
		e := w.endpoint()
		first := w.event(e)
		w.store(first)
		for _, twin := range []func(n *webhook.NewEvent){
			func(n *webhook.NewEvent) { n.Event.ID = twinOf(w, id.Event, first.Event.ID) },
			func(n *webhook.NewEvent) { n.Deliveries[0].ID = twinOf(w, id.Delivery, first.Deliveries[0].ID) },
		} {
			plain, n := w.event(e), w.event(e)
			twin(&n)
			r := w.sendGroups(w.group(plain, n))[0]
			if r.Status == webhook.SendTaken {
				w.absent(plain, n)
				continue
			}
			w.Equal(webhook.SendStored, r.Status)
			for _, stored := range []webhook.NewEvent{plain, n} {
				w.Equal(webhook.StateQueued, w.state(stored.Deliveries[0].ID))
				got, err := w.s.GetEvent(w.ctx, stored.Event.ID)
				w.NoError(err)
				w.Equal(stored.Event.ID, got.ID)
			}
		}
		w.Equal(first.Event.ID, w.get(first.Deliveries[0].ID).EventID)
	}},
	{name: "blames a delivery to no endpoint on the item", check: func(w *world) {
		good, bad := w.event(w.endpoint()), w.event(w.newID(id.Endpoint))
		_, err := w.s.Commit(w.ctx, webhook.Batch{Now: w.now, Sends: []webhook.SendGroup{w.group(good), w.group(bad)}})
		var item *webhook.ItemError
		w.ErrorAs(err, &item)
		w.absent(good, bad)
	}},
	{name: "hands a delivery over leased", check: func(w *world) {
		n := w.leased(w.event(w.endpoint()), "me")
		w.store(n)
		deliveryID := n.Deliveries[0].ID
		w.Equal(webhook.StateSending, w.state(deliveryID))
		w.claimNone()
		w.Equal(webhook.RequeueLeased, w.retry(deliveryID))
		w.apply(w.outcome(handedOver(n, 0), 200))
		w.Equal(webhook.StateSucceeded, w.state(deliveryID))
		w.Len(w.attempts(deliveryID), 1)
	}},
	{name: "frees a delivery that was handed over and lost", check: func(w *world) {
		n := w.leased(w.event(w.endpoint()), "me")
		w.store(n)
		w.pass(leaseTime)
		r := w.claimAs(w.request(1))
		w.Len(r.Claims, 1)
		w.EqualValues(2, r.Claims[0].Lease)
		w.Equal(2, r.Claims[0].AttemptNumber)
		w.Equal(webhook.TriggerAutomatic, r.Claims[0].Trigger)
		w.Len(r.Interrupted, 1)
		w.Equal(start, r.Interrupted[0].StartedAt)
		w.Equal(webhook.TriggerInitial, r.Interrupted[0].Trigger)
	}},
}

// absent checks that nothing of the events was stored.
func (w *world) absent(events ...webhook.NewEvent) {
	w.t.Helper()
	for _, n := range events {
		_, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.ErrorIs(err, webhook.ErrNotFound, "event %s is there", n.Event.ID)
		for _, d := range n.Deliveries {
			_, err := w.s.GetDelivery(w.ctx, w.now, d.ID)
			w.ErrorIs(err, webhook.ErrNotFound, "delivery %s is there", d.ID)
		}
	}
}

// twinOf makes another ID with the same [id.Split] key.
func twinOf(w *world, prefix, s string) string {
	key, rest, ok := id.Split(prefix, s)
	w.True(ok)
	return id.Join(prefix, key, rest^1)
}
