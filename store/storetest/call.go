package storetest

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// calls are all methods that take a context, each with arguments that are right.
func (w *world) calls(ctx context.Context) map[string]error {
	e, s := w.newID(id.Endpoint), w.s
	errs := map[string]error{}
	_, errs["Commit"] = s.Commit(ctx, webhook.Batch{Now: w.now})
	_, errs["Claim"] = s.Claim(ctx, w.request(1))
	_, errs["Requeue"] = s.Requeue(ctx, webhook.RequeueRequest{Now: w.now, IDs: []string{w.newID(id.Delivery)}})
	_, errs["Prune"] = s.Prune(ctx, webhook.PruneRequest{Now: w.now, Limit: 1})
	_, errs["Erase"] = s.Erase(ctx, webhook.EraseRequest{Now: w.now, TenantID: "x", Limit: 1})
	_, errs["CreateEndpoint"] = s.CreateEndpoint(ctx, webhook.EndpointRow{ID: e, State: webhook.EndpointEnabled, CreatedAt: w.now})
	_, errs["UpdateEndpoint"] = s.UpdateEndpoint(ctx, e, func(*webhook.EndpointRow) error { return nil })
	_, errs["GetEndpoint"] = s.GetEndpoint(ctx, e)
	_, errs["ListEndpoints"] = s.ListEndpoints(ctx, webhook.EndpointQuery{})
	_, _, errs["SyncEndpoints"] = s.SyncEndpoints(ctx, 0, 1)
	_, errs["GetEvent"] = s.GetEvent(ctx, w.newID(id.Event))
	_, errs["ListEvents"] = s.ListEvents(ctx, webhook.EventQuery{})
	_, errs["GetDelivery"] = s.GetDelivery(ctx, w.now, w.newID(id.Delivery))
	_, errs["ListDeliveries"] = s.ListDeliveries(ctx, w.now, webhook.DeliveryQuery{})
	_, errs["ListAttempts"] = s.ListAttempts(ctx, webhook.AttemptQuery{})
	_, errs["Stats"] = s.Stats(ctx, w.now, webhook.StatsQuery{})
	return errs
}

var callRules = []rule{
	{name: "returns the context's error when it has ended", check: func(w *world) {
		before := w.generation()
		ctx, cancel := context.WithCancel(w.ctx)
		cancel()
		for method, err := range w.calls(ctx) {
			w.ErrorIs(err, context.Canceled, method)
		}
		w.Equal(before, w.generation(), "nothing was done")
	}},
	{name: "says ErrClosed once it is closed", unusable: true, check: func(w *world) {
		c, ok := w.s.(io.Closer)
		if !ok {
			w.t.Skip("the store has no Close")
		}
		w.NoError(c.Close())
		for method, err := range w.calls(w.ctx) {
			w.ErrorIs(err, webhook.ErrClosed, method)
		}
		w.NoError(c.Close(), "closing twice does no harm")
	}},
	{name: "does everything at the same time", check: func(w *world) {
		endpoints := []string{w.endpoint(), w.endpoint(), w.endpoint(ordered)}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { w.traffic(endpoints) })
		}
		wg.Go(func() {
			for range 20 {
				_, err := w.s.UpdateEndpoint(w.ctx, endpoints[0], func(row *webhook.EndpointRow) error {
					row.DisabledReason += "x"
					return nil
				})
				w.told(err)
				_, err = w.s.ListDeliveries(w.ctx, w.now, webhook.DeliveryQuery{TenantID: acme})
				w.told(err)
				_, err = w.s.ListAttempts(w.ctx, webhook.AttemptQuery{TenantID: acme})
				w.told(err)
				_, err = w.s.Stats(w.ctx, w.now, webhook.StatsQuery{TenantID: acme})
				w.told(err)
				_, err = w.s.Prune(w.ctx, webhook.PruneRequest{Now: w.now, DetailBefore: w.now.Add(time.Hour), Limit: 10})
				w.told(err)
			}
		})
		wg.Wait()
		row, err := w.s.GetEndpoint(w.ctx, endpoints[0])
		w.NoError(err)
		w.Len(row.DisabledReason, 20, "no update was lost")
		w.counts(webhook.Stats{Succeeded: 180}, webhook.StatsQuery{TenantID: acme})
	}},
}

// traffic sends 20 events to each endpoint and claims and finishes until all is delivered.
func (w *world) traffic(endpointIDs []string) {
	for sent := 0; sent < 20; {
		r, err := w.s.Commit(w.ctx, webhook.Batch{Now: w.now, Sends: []webhook.SendGroup{w.group(w.event(endpointIDs...))}})
		if w.told(err); err != nil {
			return
		}
		if r.Sends[0].Status == webhook.SendStored { // else stale: an endpoint was changed meanwhile
			sent++
		}
	}
	for {
		res, err := w.s.Claim(w.ctx, w.request(5))
		if w.told(err); err != nil {
			return
		}
		if len(res.Claims) == 0 && (res.NextDue.IsZero() || res.NextDue.After(w.now)) && w.stats(webhook.StatsQuery{TenantID: acme}).Pending == 0 {
			return
		}
		var outcomes []webhook.Outcome
		for _, c := range res.Claims {
			outcomes = append(outcomes, w.outcome(c, 200))
		}
		_, err = w.s.Commit(w.ctx, webhook.Batch{Now: w.now, Outcomes: outcomes})
		if w.told(err); err != nil {
			return
		}
	}
}

// told reports an error from another goroutine than the test's, where require must not be used.
func (w *world) told(err error) {
	if err != nil {
		w.t.Errorf("%+v", err)
	}
}
