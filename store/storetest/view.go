package storetest

import (
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var viewRules = []rule{
	{name: "shows a delivery", check: func(w *world) {
		e := w.endpoint()
		n := w.event(e)
		n.Event.Attributes, n.Event.ExpiresAt = map[string]string{"k": "v"}, w.now.Add(time.Hour)
		deliveryID := w.store(n)[0]
		item := w.get(deliveryID)
		w.Equal(webhook.DeliveryListItem{
			ID: deliveryID, TenantID: acme, EventID: n.Event.ID, EventType: "order.created", EndpointID: e,
			Status: webhook.StatusPending, State: webhook.StateQueued, DueAt: &start, ExpiresAt: &n.Event.ExpiresAt,
			CreatedAt: start, UpdatedAt: start, Attributes: map[string]string{"k": "v"},
		}, item)
		items, err := w.s.ListDeliveries(w.ctx, w.now, webhook.DeliveryQuery{TenantID: acme})
		w.NoError(err)
		w.Equal([]webhook.DeliveryListItem{item}, items)
		_, err = w.s.GetDelivery(w.ctx, w.now, w.newID(id.Delivery))
		w.ErrorIs(err, webhook.ErrNotFound)
		_, err = w.s.GetEvent(w.ctx, w.newID(id.Event))
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "lists deliveries newest first, in pages", check: func(w *world) {
		all := w.sendMany(w.endpoint(), 60)
		slices.Reverse(all)
		w.Equal(all[:50], w.list(webhook.DeliveryQuery{TenantID: acme}), "50 is the default")
		w.Equal(all, w.pages(webhook.DeliveryQuery{TenantID: acme, Limit: 7}))
		w.Empty(w.list(webhook.DeliveryQuery{TenantID: acme, After: all[59]}))
	}},
	{name: "lists by ID, in whatever order rows came", check: func(w *world) {
		e := w.endpoint()
		var events []webhook.NewEvent
		var want []string
		for range 1200 {
			events = append(events, w.event(e))
			want = slices.Insert(want, 0, events[len(events)-1].Deliveries[0].ID)
		}
		for i := 0; i < len(events); i += 100 {
			var some []webhook.NewEvent
			for j := i; j < i+100; j++ {
				some = append(some, events[j*7%len(events)]) // a fixed shuffle: 7 and 1200 have no common factor
			}
			w.sendGroups(w.group(some...))
		}
		w.Equal(want, w.pages(webhook.DeliveryQuery{TenantID: acme, Limit: 500}))
	}},
	{name: "gives at most 500 rows", check: func(w *world) {
		e := w.endpoint()
		var c []webhook.Claim
		w.sendMany(e, 510)
		for range 2 {
			c = append(c, w.claim(300)...)
		}
		var outcomes []webhook.Outcome
		for i := range c {
			outcomes = append(outcomes, w.outcome(c[i], 200))
		}
		w.finish(outcomes...)
		w.Len(w.list(webhook.DeliveryQuery{TenantID: acme, Limit: 1000}), 500)
		attempts, err := w.s.ListAttempts(w.ctx, webhook.AttemptQuery{TenantID: acme, Limit: 1000})
		w.NoError(err)
		w.Len(attempts, 500)
		attempts, err = w.s.ListAttempts(w.ctx, webhook.AttemptQuery{TenantID: acme})
		w.NoError(err)
		w.Len(attempts, 50)
		events, err := w.s.ListEvents(w.ctx, webhook.EventQuery{TenantID: acme, Limit: 1000})
		w.NoError(err)
		w.Len(events, 500)
	}},
	{name: "filters deliveries by each field", check: filterDeliveries},
	{name: "filters deliveries by state", check: filterStates},
	{name: "filters deliveries in pages", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		var want []string
		for i := range 40 {
			e := a
			if i%3 == 0 {
				e = b
			}
			n := w.event(e)
			n.Event.Attributes = map[string]string{"even": []string{"yes", "no"}[i%2]}
			deliveryID := w.store(n)[0]
			if e == b && i%2 == 0 {
				want = slices.Insert(want, 0, deliveryID)
			}
		}
		q := webhook.DeliveryQuery{TenantID: acme, EndpointID: b, Attributes: map[string]string{"even": "yes"}, Limit: 3}
		w.Equal(want, w.pages(q))
	}},
	{name: "lists what was replayed in its place by ID", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		first := w.event(a)
		w.store(first)
		w.store(w.event()) // matched nothing
		w.pass(time.Hour)
		second := w.event(a, b)
		second.Event.Type = "order.paid"
		between := w.store(second)
		w.pass(time.Hour)
		n := w.replay(first, b)
		w.sendGroups(w.group(n))
		third := w.store(w.event(a))
		replayed, old := n.Deliveries[0].ID, first.Deliveries[0].ID
		for _, all := range []bool{false, true} {
			q := webhook.DeliveryQuery{TenantID: acme, AllTenants: all, Limit: 2}
			w.Equal([]string{third[0], replayed, between[1], between[0], old}, w.pages(q))
			q.EventType = "order.created"
			w.Equal([]string{third[0], replayed, old}, w.pages(q))
			q.Since = start.Add(time.Hour)
			w.Equal([]string{third[0], replayed}, w.pages(q))
			q.Since, q.Until = time.Time{}, start.Add(time.Hour)
			w.Equal([]string{old}, w.pages(q))
		}
	}},
	{name: "filters by a row's own time, whatever its ID says", check: func(w *world) {
		e := w.endpoint()
		w.pass(time.Hour)
		var want []string
		for _, off := range []time.Duration{-time.Hour, -3 * time.Second, 0, 3 * time.Second, time.Hour} {
			n := w.event(e)
			n.Event.CreatedAt = w.now.Add(off)
			deliveryID := w.store(n)[0]
			if off >= 0 {
				want = slices.Insert(want, 0, deliveryID)
			}
		}
		w.Equal(want, w.pages(webhook.DeliveryQuery{TenantID: acme, Since: w.now, Limit: 2}))
		w.Equal(want[:1], w.pages(webhook.DeliveryQuery{TenantID: acme, Since: w.now.Add(time.Minute), Limit: 2}))
		w.Equal(want[1:], w.pages(webhook.DeliveryQuery{TenantID: acme, Since: w.now, Until: w.now.Add(time.Minute), Limit: 2}))
		w.Len(w.pages(webhook.DeliveryQuery{TenantID: acme, Until: w.now, Limit: 1}), 2)
		events, err := w.s.ListEvents(w.ctx, webhook.EventQuery{TenantID: acme, Until: w.now})
		w.NoError(err)
		w.Len(events, 2)
		events, err = w.s.ListEvents(w.ctx, webhook.EventQuery{TenantID: acme, Since: w.now.Add(time.Minute)})
		w.NoError(err)
		w.Len(events, 1)
		var claims []webhook.Claim
		for range 5 {
			claims = append(claims, w.claim(10)...)
		}
		for _, c := range claims {
			o := w.outcome(c, 200)
			o.Attempt.StartedAt = w.now.Add(-time.Hour) // a request that took an hour
			w.apply(o)
		}
		for since, n := range map[time.Duration]int{-time.Hour: 5, -time.Hour + time.Microsecond: 0} {
			attempts, err := w.s.ListAttempts(w.ctx, webhook.AttemptQuery{TenantID: acme, Since: w.now.Add(since), Until: w.now})
			w.NoError(err)
			w.Len(attempts, n)
		}
	}},
	{name: "finds what is pending among much that is not", check: func(w *world) {
		e, other := w.endpoint(), w.endpoint()
		var want []string
		for i := range 30 {
			to := e
			if i%10 == 0 {
				to = other
			}
			deliveryID := w.send(to)
			if i%10 == 0 {
				want = slices.Insert(want, 0, deliveryID)
				w.setState(other, webhook.EndpointPaused)
				continue
			}
			w.apply(w.outcome(w.claimOne(), 200))
		}
		q := webhook.DeliveryQuery{TenantID: acme, Status: webhook.StatusPending, Limit: 2}
		w.Equal(want, w.pages(q))
		q.EndpointID = other
		w.Equal(want, w.pages(q))
		q.EndpointID = e
		w.Empty(w.pages(q))
		q.EndpointID, q.AllTenants, q.EventType = "", true, "order.created"
		w.Equal(want, w.pages(q))
		q.States = []webhook.DeliveryState{webhook.StateHeld}
		w.Equal(want, w.pages(q))
		q.States = []webhook.DeliveryState{webhook.StateQueued}
		w.Empty(w.pages(q))
	}},
	{name: "filters attempts by each field", check: filterAttempts},
	{name: "lists events without payload, by each field", check: filterEvents},
	{name: "does not keep what a caller changes afterwards", check: func(w *world) {
		n := w.event(w.endpoint())
		n.Event.Attributes, n.Event.Headers = map[string]string{"k": "v"}, map[string]string{"X-H": "v"}
		deliveryID := w.store(n)[0]
		o := w.outcome(w.claimOne(), 200)
		w.apply(o)
		w.get(deliveryID).Attributes["k"] = "changed"
		*w.get(deliveryID).LastAttempt.ResponseStatus = 999
		ev, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		ev.Attributes["k"], ev.Headers["X-H"] = "changed", "changed"
		a := w.attempts(deliveryID)[0]
		a.ResponseHeaders["Content-Type"], *a.StatusCode, *a.ResponseBodyPreview = "changed", 999, "changed"
		w.Equal("v", w.get(deliveryID).Attributes["k"])
		ev, err = w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		w.Equal("v", ev.Headers["X-H"])
		w.Equal([]webhook.DeliveryAttempt{*w.outcomeAttempt(o)}, w.attempts(deliveryID))
	}},
}

// outcomeAttempt is the attempt of a 200 as [world.attempt] made it.
func (w *world) outcomeAttempt(o webhook.Outcome) *webhook.DeliveryAttempt {
	w.Equal(200, *o.Attempt.StatusCode, "a view gave out the store's own memory")
	w.Equal("text/plain", o.Attempt.ResponseHeaders["Content-Type"], "a view gave out the store's own memory")
	w.Equal("thank you", *o.Attempt.ResponseBodyPreview, "a view gave out the store's own memory")
	return o.Attempt
}

// pages lists all that a query selects, page by page.
func (w *world) pages(q webhook.DeliveryQuery) (all []string) {
	w.t.Helper()
	for {
		page := w.list(q)
		w.LessOrEqual(len(page), q.Limit)
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		q.After = page[len(page)-1]
	}
}

func filterDeliveries(w *world) {
	a, b := w.endpoint(), w.endpoint()
	other := w.endpoint(func(row *webhook.EndpointRow) { row.TenantID = "" })
	first := w.event(a, b)
	first.Event.Attributes = map[string]string{"k": "v", "l": "w"}
	ids := w.store(first)
	w.pass(time.Hour)
	second := w.event(a)
	second.Event.Type, second.Event.Attributes = "order.paid", map[string]string{"k": "v"}
	ids = append(ids, w.store(second)...)
	w.pass(time.Hour)
	third := w.event(other)
	third.Event.TenantID = ""
	foreign := w.store(third)[0]

	outcomes := map[string]func(webhook.Claim) webhook.Outcome{
		ids[0]: func(c webhook.Claim) webhook.Outcome { return w.outcome(c, 200) },
		ids[1]: func(c webhook.Claim) webhook.Outcome { return w.ended(c, 503, webhook.StateExhausted) },
		ids[2]: func(c webhook.Claim) webhook.Outcome { return w.outcome(c, 0) },
	}
	for _, c := range w.claim(10) {
		if outcome := outcomes[c.DeliveryID]; outcome != nil {
			w.apply(outcome(c))
		}
	}
	finished := w.now
	w.pass(time.Hour)
	w.cancel(ids[2])

	for _, c := range []struct {
		name string
		q    webhook.DeliveryQuery
		want []string
	}{
		{"tenant", webhook.DeliveryQuery{}, []string{ids[2], ids[1], ids[0]}},
		{"endpoint", webhook.DeliveryQuery{EndpointID: a}, []string{ids[2], ids[0]}},
		{"endpoint of another tenant", webhook.DeliveryQuery{EndpointID: other}, nil},
		{"event", webhook.DeliveryQuery{EventID: first.Event.ID}, []string{ids[1], ids[0]}},
		{"event of another tenant", webhook.DeliveryQuery{EventID: third.Event.ID}, nil},
		{"event and endpoint", webhook.DeliveryQuery{EventID: first.Event.ID, EndpointID: b}, []string{ids[1]}},
		{"type", webhook.DeliveryQuery{EventType: "order.paid"}, []string{ids[2]}},
		{"status success", webhook.DeliveryQuery{Status: webhook.StatusSuccess}, []string{ids[0]}},
		{"status failed", webhook.DeliveryQuery{Status: webhook.StatusFailed}, []string{ids[2], ids[1]}},
		{"status pending", webhook.DeliveryQuery{Status: webhook.StatusPending}, nil},
		{"code of the last attempt", webhook.DeliveryQuery{ErrorCode: webhook.CodeConnectionRefused}, []string{ids[2]}},
		{"code of the end", webhook.DeliveryQuery{ErrorCode: webhook.CodeCancelled}, []string{ids[2]}},
		{"code of both", webhook.DeliveryQuery{ErrorCode: webhook.CodeBadResponse}, []string{ids[1]}},
		{"class 2", webhook.DeliveryQuery{ResponseClass: 2}, []string{ids[0]}},
		{"class 5", webhook.DeliveryQuery{ResponseClass: 5}, []string{ids[1]}},
		{"class 4", webhook.DeliveryQuery{ResponseClass: 4}, nil},
		{"since", webhook.DeliveryQuery{Since: start.Add(time.Hour)}, []string{ids[2]}},
		{"until", webhook.DeliveryQuery{Until: start.Add(time.Hour)}, []string{ids[1], ids[0]}},
		{"finished since", webhook.DeliveryQuery{FinishedSince: finished}, []string{ids[2], ids[1], ids[0]}},
		{"finished since later", webhook.DeliveryQuery{FinishedSince: finished.Add(time.Microsecond)}, []string{ids[2]}},
		{"attribute", webhook.DeliveryQuery{Attributes: map[string]string{"k": "v"}}, []string{ids[2], ids[1], ids[0]}},
		{"attributes", webhook.DeliveryQuery{Attributes: map[string]string{"k": "v", "l": "w"}}, []string{ids[1], ids[0]}},
		{"attribute of another value", webhook.DeliveryQuery{Attributes: map[string]string{"k": "w"}}, nil},
		{"all at once", webhook.DeliveryQuery{
			EndpointID: b, EventID: first.Event.ID, EventType: "order.created", Status: webhook.StatusFailed,
			States: []webhook.DeliveryState{webhook.StateExhausted}, ErrorCode: webhook.CodeBadResponse, ResponseClass: 5,
			Since: start, Until: start.Add(time.Second), FinishedSince: finished, Attributes: map[string]string{"l": "w"},
		}, []string{ids[1]}},
	} {
		c.q.TenantID = acme
		w.Equal(c.want, w.list(c.q), c.name)
	}
	w.Equal([]string{foreign}, w.list(webhook.DeliveryQuery{}), "a forgotten tenant lists the tenant \"\"")
	w.Equal([]string{foreign, ids[2], ids[1], ids[0]}, w.list(webhook.DeliveryQuery{AllTenants: true}))
	w.Equal([]string{foreign}, w.list(webhook.DeliveryQuery{AllTenants: true, EventID: third.Event.ID}))
}

func filterStates(w *world) {
	e, paused := w.endpoint(), w.endpoint()
	want := map[webhook.DeliveryState]string{}
	for _, state := range []webhook.DeliveryState{
		webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired,
	} {
		want[state] = w.send(e)
		w.apply(w.ended(w.claimOne(), 500, state))
	}
	want[webhook.StateSucceeded] = w.send(e)
	w.apply(w.outcome(w.claimOne(), 200))
	want[webhook.StateSending] = w.send(e)
	w.claimOne()
	want[webhook.StateHeld] = w.send(paused)
	w.setState(paused, webhook.EndpointPaused)
	want[webhook.StateQueued] = w.send(e)
	n := w.event(e)
	n.Deliveries[0].DueAt = w.now.Add(time.Microsecond)
	want[webhook.StateScheduled] = w.store(n)[0]

	var all []string
	for state, deliveryID := range want {
		w.Equal(state, w.state(deliveryID))
		w.Equal([]string{deliveryID}, w.list(webhook.DeliveryQuery{TenantID: acme, States: []webhook.DeliveryState{state}}), state)
		all = append(all, deliveryID)
	}
	slices.Sort(all)
	slices.Reverse(all)
	w.Equal(all, w.list(webhook.DeliveryQuery{TenantID: acme}))
	w.Equal([]string{want[webhook.StateScheduled], want[webhook.StateQueued]}, w.list(webhook.DeliveryQuery{
		TenantID: acme, States: []webhook.DeliveryState{webhook.StateQueued, webhook.StateScheduled},
	}))
	w.pass(time.Microsecond)
	w.Equal([]string{want[webhook.StateScheduled], want[webhook.StateQueued]}, w.list(webhook.DeliveryQuery{
		TenantID: acme, States: []webhook.DeliveryState{webhook.StateQueued},
	}), "time alone makes a scheduled one queued")
}

func filterAttempts(w *world) {
	a, b := w.endpoint(), w.endpoint()
	one, two := w.event(a, b), w.event(a)
	ids := append(w.store(one), w.store(two)...)
	made := map[string]string{} // attempt by delivery
	var all []string
	for i, code := range []int{200, 500, 0} {
		w.pass(time.Minute)
		claims := w.claim(10)
		at := slices.IndexFunc(claims, func(c webhook.Claim) bool { return c.DeliveryID == ids[i] })
		w.GreaterOrEqual(at, 0)
		o := w.ended(claims[at], code, webhook.StateExhausted)
		w.apply(o)
		made[ids[i]] = o.Attempt.ID
		all = slices.Insert(all, 0, o.Attempt.ID)
		for j, c := range claims {
			if j != at {
				w.commit(webhook.Batch{Returned: []webhook.Return{{DeliveryID: c.DeliveryID, Lease: c.Lease}}})
			}
		}
	}
	list := func(q webhook.AttemptQuery) (got []string) {
		w.t.Helper()
		attempts, err := w.s.ListAttempts(w.ctx, q)
		w.NoError(err)
		for _, attempt := range attempts {
			got = append(got, attempt.ID)
		}
		return got
	}
	for _, c := range []struct {
		name string
		q    webhook.AttemptQuery
		want []string
	}{
		{"tenant", webhook.AttemptQuery{}, all},
		{"endpoint", webhook.AttemptQuery{EndpointID: a}, []string{made[ids[2]], made[ids[0]]}},
		{"event", webhook.AttemptQuery{EventID: one.Event.ID}, []string{made[ids[1]], made[ids[0]]}},
		{"delivery", webhook.AttemptQuery{DeliveryID: ids[1]}, []string{made[ids[1]]}},
		{"delivery of another event", webhook.AttemptQuery{DeliveryID: ids[1], EventID: two.Event.ID}, nil},
		{"status", webhook.AttemptQuery{Status: webhook.AttemptFailed}, []string{made[ids[2]], made[ids[1]]}},
		{"code", webhook.AttemptQuery{ErrorCode: webhook.CodeBadResponse}, []string{made[ids[1]]}},
		{"since", webhook.AttemptQuery{Since: start.Add(2 * time.Minute)}, []string{made[ids[2]], made[ids[1]]}},
		{"until", webhook.AttemptQuery{Until: start.Add(2 * time.Minute)}, []string{made[ids[0]]}},
		{"page", webhook.AttemptQuery{Limit: 2}, all[:2]},
		{"next page", webhook.AttemptQuery{Limit: 2, After: all[1]}, all[2:]},
		{"all at once", webhook.AttemptQuery{
			EndpointID: b, EventID: one.Event.ID, DeliveryID: ids[1], Status: webhook.AttemptFailed,
			ErrorCode: webhook.CodeBadResponse, Since: start, Until: w.now,
		}, []string{made[ids[1]]}},
	} {
		c.q.TenantID = acme
		w.Equal(c.want, list(c.q), c.name)
	}
	w.Empty(list(webhook.AttemptQuery{}), "a forgotten tenant lists the tenant \"\"")
	w.Empty(list(webhook.AttemptQuery{DeliveryID: ids[0]}))
	w.Equal(all, list(webhook.AttemptQuery{AllTenants: true}))
}

func filterEvents(w *world) {
	e := w.endpoint()
	var ids []string
	for i := range 3 {
		n := w.event(e)
		n.Event.Type = []string{"a", "b", "a"}[i]
		w.store(n)
		ids = slices.Insert(ids, 0, n.Event.ID)
		w.pass(time.Minute)
	}
	foreign := w.event()
	foreign.Event.TenantID = ""
	w.store(foreign)
	list := func(q webhook.EventQuery) (got []string) {
		w.t.Helper()
		events, err := w.s.ListEvents(w.ctx, q)
		w.NoError(err)
		for _, ev := range events {
			w.Empty(ev.Payload)
			w.Nil(ev.ErasedAt)
			got = append(got, ev.ID)
		}
		return got
	}
	w.Equal(ids, list(webhook.EventQuery{TenantID: acme}))
	w.Equal([]string{ids[2], ids[0]}[1:], list(webhook.EventQuery{TenantID: acme, Type: "a", Limit: 1}))
	w.Equal([]string{ids[2]}, list(webhook.EventQuery{TenantID: acme, Type: "a", After: ids[0]}))
	w.Equal(ids[:2], list(webhook.EventQuery{TenantID: acme, Since: start.Add(time.Minute)}))
	w.Equal(ids[2:], list(webhook.EventQuery{TenantID: acme, Until: start.Add(time.Minute)}))
	w.Equal([]string{foreign.Event.ID}, list(webhook.EventQuery{}))
	w.Len(list(webhook.EventQuery{AllTenants: true}), 4)
}
