package storetest

import (
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// prune goes one whole round in steps of limit rows and sums up.
func (w *world) prune(r webhook.PruneRequest) (sum webhook.PruneResult) {
	w.t.Helper()
	r.Now = w.now
	if r.Limit == 0 {
		r.Limit = 2
	}
	for range 10_000 {
		step, err := w.s.Prune(w.ctx, r)
		w.NoError(err)
		sum.Details += step.Details
		sum.Deliveries += step.Deliveries
		sum.Attempts += step.Attempts
		sum.Events += step.Events
		sum.Canceled += step.Canceled
		sum.Expired += step.Expired
		if r.Cursor = step.Cursor; r.Cursor == "" {
			return sum
		}
	}
	w.Fail("Prune does not come to an end")
	return sum
}

func (w *world) erase(r webhook.EraseRequest) (canceled []string) {
	w.t.Helper()
	r.Now = w.now
	if r.Limit == 0 {
		r.Limit = 2
	}
	for range 10_000 {
		step, err := w.s.Erase(w.ctx, r)
		w.NoError(err)
		canceled = append(canceled, step.Canceled...)
		if !step.More {
			slices.Sort(canceled)
			return canceled
		}
	}
	w.Fail("Erase does not come to an end")
	return nil
}

var retentionRules = []rule{
	{name: "prunes what is finished, older and unleased, and nothing else", check: func(w *world) {
		e, paused := w.endpoint(), w.endpoint()
		var old []webhook.NewEvent
		for range 5 {
			n := w.event(e)
			w.store(n)
			w.apply(w.outcome(w.claimOne(), 200))
			old = append(old, n)
		}
		leased := w.send(e)
		w.claimOne()
		w.cancel(leased)
		w.pass(time.Second)
		border := w.now
		young := w.send(e)
		w.apply(w.outcome(w.claimOne(), 200))
		pending := w.send(paused)
		w.setState(paused, webhook.EndpointPaused)
		w.pass(time.Second)
		w.Equal(webhook.PruneResult{Deliveries: 5, Attempts: 5, Events: 5}, w.prune(webhook.PruneRequest{FinishedBefore: border}))
		w.absent(old...)
		w.Equal([]string{pending, young, leased}, w.list(webhook.DeliveryQuery{TenantID: acme}))
		w.counts(webhook.Stats{Pending: 1, Held: 1, Succeeded: 1, Canceled: 1}, webhook.StatsQuery{TenantID: acme})
		w.Equal(webhook.PruneResult{}, w.prune(webhook.PruneRequest{FinishedBefore: border}))
		w.pass(leaseTime)
		w.Equal(webhook.PruneResult{Deliveries: 1, Events: 1}, w.prune(webhook.PruneRequest{FinishedBefore: border}))
	}},
	{name: "lets an event go with its last delivery", check: func(w *world) {
		a, b := w.endpoint(), w.endpoint()
		n := keyed(w.event(a, b), "key", "f")
		w.store(n)
		claims := w.claim(2)
		w.apply(w.outcome(claims[0], 200))
		w.pass(time.Second)
		w.Equal(webhook.PruneResult{Deliveries: 1, Attempts: 1}, w.prune(webhook.PruneRequest{FinishedBefore: w.now}))
		_, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		w.True(w.sendGroups(w.group(keyed(w.event(a), "key", "f")))[0].Receipts[0].Duplicate, "the key lives as long as its event")
		w.apply(w.outcome(claims[1], 200))
		w.pass(time.Second)
		w.Equal(webhook.PruneResult{Deliveries: 1, Attempts: 1, Events: 1}, w.prune(webhook.PruneRequest{FinishedBefore: w.now}))
		w.absent(n)
		w.False(w.sendGroups(w.group(keyed(w.event(a), "key", "other")))[0].Receipts[0].Duplicate, "the key went with it")
	}},
	{name: "prunes old events without deliveries", check: func(w *world) {
		old := w.event()
		w.store(old)
		w.pass(time.Second)
		border := w.now
		young := w.event()
		w.store(young)
		w.Equal(webhook.PruneResult{Events: 1}, w.prune(webhook.PruneRequest{FinishedBefore: border}))
		w.absent(old)
		_, err := w.s.GetEvent(w.ctx, young.Event.ID)
		w.NoError(err)
	}},
	{name: "keeps what is held, however old, with its event", check: func(w *world) {
		for _, state := range []webhook.EndpointState{webhook.EndpointPaused, webhook.EndpointDisabled} {
			e := w.endpoint()
			tried := w.send(e)
			w.apply(w.outcome(w.claimOne(), 500))
			n := keyed(w.event(e), "key "+string(state), "f")
			fresh := w.store(n)[0]
			w.setState(e, state)
			w.pass(365 * 24 * time.Hour)
			w.Equal(webhook.PruneResult{Details: 1}, w.prune(webhook.PruneRequest{FinishedBefore: w.now, DetailBefore: w.now}))
			w.Equal([]webhook.DeliveryState{webhook.StateHeld, webhook.StateHeld}, []webhook.DeliveryState{w.state(tried), w.state(fresh)})
			ev, err := w.s.GetEvent(w.ctx, n.Event.ID)
			w.NoError(err)
			w.Equal(n.Event.Payload, ev.Payload)
			w.True(w.sendGroups(w.group(keyed(w.event(e), "key "+string(state), "f")))[0].Receipts[0].Duplicate)
			w.setState(e, webhook.EndpointEnabled)
			claims := w.claim(10)
			w.Len(claims, 2)
			for _, c := range claims {
				w.Equal(webhook.TriggerUnpause, c.Trigger)
				w.apply(w.outcome(c, 200))
			}
			w.Equal(webhook.PruneResult{}, w.prune(webhook.PruneRequest{FinishedBefore: w.now}), "its age counts from its end")
			w.pass(time.Second)
			w.Equal(webhook.PruneResult{Deliveries: 2, Attempts: 3, Events: 2}, w.prune(webhook.PruneRequest{FinishedBefore: w.now}))
		}
	}},
	{name: "prunes nothing that was not asked for", check: func(w *world) {
		w.store(w.event())
		w.send(w.endpoint())
		w.apply(w.outcome(w.claimOne(), 200))
		w.pass(365 * 24 * time.Hour)
		w.Equal(webhook.PruneResult{}, w.prune(webhook.PruneRequest{}))
		w.Len(w.list(webhook.DeliveryQuery{TenantID: acme}), 1)
	}},
	{name: "takes headers and previews of old attempts, and nothing else of them", check: func(w *world) {
		e := w.endpoint()
		oldID := w.send(e)
		w.apply(w.outcome(w.claimOne(), 200))
		before := w.attempts(oldID)[0]
		w.pass(time.Second)
		border := w.now
		youngID := w.send(e)
		w.apply(w.outcome(w.claimOne(), 200))
		w.pass(time.Second)
		w.Equal(webhook.PruneResult{Details: 1}, w.prune(webhook.PruneRequest{DetailBefore: border}))
		got := w.attempts(oldID)[0]
		w.NotNil(got.DetailPrunedAt)
		w.Equal(w.now, *got.DetailPrunedAt)
		before.RequestHeaders, before.ResponseHeaders, before.ResponseBodyPreview = nil, nil, nil
		before.DetailPrunedAt, before.UpdatedAt = got.DetailPrunedAt, got.UpdatedAt
		w.Equal(before, got)
		w.NotNil(w.attempts(youngID)[0].ResponseBodyPreview)
		w.pass(time.Second)
		w.Equal(webhook.PruneResult{}, w.prune(webhook.PruneRequest{DetailBefore: border}), "once is enough")
		w.Equal(got, w.attempts(oldID)[0])
	}},
	{name: "takes the details off an attempt that came late and has an older ID than those gone over", check: func(w *world) {
		for _, later := range []time.Duration{time.Second, time.Hour} {
			e := w.endpoint()
			late := w.send(e)
			claim := w.claimOne()
			w.send(e)
			w.apply(w.outcome(w.claimOne(), 200))
			w.pass(later)
			w.Equal(webhook.PruneResult{Details: 1}, w.prune(webhook.PruneRequest{DetailBefore: w.now}))
			o := w.outcome(claim, 200)
			o.Attempt.ID = id.Attempt + late[len(id.Delivery):]
			w.apply(o)
			w.pass(time.Second)
			w.Equal(webhook.PruneResult{Details: 1}, w.prune(webhook.PruneRequest{DetailBefore: w.now}))
			w.NotNil(w.attempts(late)[0].DetailPrunedAt)
		}
	}},
	{name: "cancels what a deleted endpoint leaves behind, in small steps", check: func(w *world) {
		e, other := w.endpoint(), w.endpoint()
		ids := w.sendMany(e, 21)
		kept := w.send(other)
		under := w.claim(1)[0]
		w.Equal(e, under.EndpointID)
		w.update(e, func(row *webhook.EndpointRow) {
			row.State, row.CancelPending = webhook.EndpointDeleted, webhook.CodeMissingURL
		})
		w.Equal(webhook.PruneResult{Canceled: 20}, w.prune(webhook.PruneRequest{}))
		for _, deliveryID := range ids {
			if deliveryID == under.DeliveryID {
				w.Equal(webhook.StateSending, w.state(deliveryID))
				continue
			}
			item := w.get(deliveryID)
			w.Equal(webhook.StateCanceled, item.State)
			w.Equal(webhook.CodeMissingURL, item.FailureCode)
			w.Equal(w.now, item.UpdatedAt)
		}
		w.Equal(webhook.StateQueued, w.state(kept))
		w.pass(leaseTime)
		w.Equal(webhook.PruneResult{Canceled: 1}, w.prune(webhook.PruneRequest{}), "the lease ran out")
	}},
	{name: "expires what is pending too long", check: func(w *world) {
		e := w.endpoint()
		n, other := w.event(e), w.event(e)
		n.Event.ExpiresAt, other.Event.ExpiresAt = w.now.Add(time.Minute), w.now.Add(time.Hour)
		ids := append(w.store(n), w.store(other)...)
		w.setState(e, webhook.EndpointPaused)
		w.Equal(webhook.PruneResult{}, w.prune(webhook.PruneRequest{}))
		w.pass(time.Minute)
		w.Equal(webhook.PruneResult{Expired: 1}, w.prune(webhook.PruneRequest{}))
		item := w.get(ids[0])
		w.Equal(webhook.StateExpired, item.State)
		w.Equal(webhook.CodeCancelledPastRetention, item.FailureCode)
		w.Equal(webhook.StateHeld, w.state(ids[1]))
	}},
	{name: "erases an event's payload and previews, and cancels what is pending", check: func(w *world) {
		a, b, c := w.endpoint(), w.endpoint(), w.endpoint()
		n := keyed(w.event(a, b, c), "key", "f")
		n.Event.Payload = []byte("secret")
		ids := w.store(n)
		claims := w.claim(2)
		w.apply(w.outcome(claims[0], 200))
		under := claims[1]
		done := claims[0].DeliveryID
		w.pass(time.Second)
		pending := slices.DeleteFunc(slices.Clone(ids), func(deliveryID string) bool { return deliveryID == done })
		w.Equal(pending, w.erase(webhook.EraseRequest{EventID: n.Event.ID}))
		ev, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		w.Empty(ev.Payload)
		w.Equal(w.now, *ev.ErasedAt)
		w.Nil(w.attempts(done)[0].ResponseBodyPreview)
		w.NotNil(w.attempts(done)[0].DetailPrunedAt)
		for _, deliveryID := range pending {
			item := w.get(deliveryID)
			w.Equal(webhook.StateCanceled, item.State)
			w.Equal(webhook.CodeDataArchived, item.FailureCode)
		}
		w.Equal(webhook.StateSucceeded, w.state(done))
		w.claimNone()
		w.True(w.sendGroups(w.group(keyed(w.event(a), "key", "f")))[0].Receipts[0].Duplicate, "the key stays")
		// What arrives later is about an erased event, and must not bring back what it said.
		w.apply(w.outcome(under, 200))
		w.Nil(w.attempts(under.DeliveryID)[0].ResponseBodyPreview)
		w.Empty(w.erase(webhook.EraseRequest{EventID: n.Event.ID}), "repeated")
		again, err := w.s.GetEvent(w.ctx, n.Event.ID)
		w.NoError(err)
		w.Equal(ev, again)
	}},
	{name: "does not find an event to erase that is not there", check: func(w *world) {
		_, err := w.s.Erase(w.ctx, webhook.EraseRequest{Now: w.now, EventID: w.newID(id.Event), Limit: 10})
		w.ErrorIs(err, webhook.ErrNotFound)
	}},
	{name: "erases a tenant with all it has, and only that", check: func(w *world) {
		e, e2 := w.endpoint(), w.endpoint()
		var events []webhook.NewEvent
		for range 5 {
			n := w.event(e, e2)
			w.store(n)
			events = append(events, n)
		}
		events = append(events, w.event())
		w.store(events[5])
		under := w.claim(4)
		w.apply(w.outcome(under[0], 200))
		other := w.endpoint(func(row *webhook.EndpointRow) { row.TenantID = "" })
		kept := w.event(other)
		kept.Event.TenantID = ""
		w.store(kept)

		before := w.generation()
		w.Len(w.erase(webhook.EraseRequest{TenantID: acme}), 9)
		w.Greater(w.generation(), before)
		w.absent(events...)
		rows, err := w.s.ListEndpoints(w.ctx, webhook.EndpointQuery{TenantID: acme})
		w.NoError(err)
		w.Empty(rows)
		for _, endpointID := range []string{e, e2} {
			row, err := w.s.GetEndpoint(w.ctx, endpointID)
			if err == nil { // kept without content, to tell others of the deletion
				w.True(row.Deleted())
				w.Empty(row.URL)
				w.Empty(row.Config)
				continue
			}
			w.ErrorIs(err, webhook.ErrNotFound)
		}
		attempts, err := w.s.ListAttempts(w.ctx, webhook.AttemptQuery{TenantID: acme})
		w.NoError(err)
		w.Empty(attempts)
		w.counts(webhook.Stats{}, webhook.StatsQuery{TenantID: acme})
		w.False(w.finish(w.outcome(under[1], 200))[0].Applied, "its deliveries are gone")
		w.Equal(kept.Deliveries[0].ID, w.claimOne().DeliveryID)
		w.Empty(w.erase(webhook.EraseRequest{TenantID: acme}), "repeated")
	}},
	{name: "tells other processes of endpoints erased with their tenant", check: func(w *world) {
		e := w.endpoint()
		seen := w.generation()
		w.erase(webhook.EraseRequest{TenantID: acme})
		rows, _, err := w.s.SyncEndpoints(w.ctx, seen, 10)
		w.NoError(err)
		w.Len(rows, 1)
		w.Equal(e, rows[0].ID)
		w.True(rows[0].Deleted())
	}},
}
