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
	if b, ok := s.(webhook.BulkStore); ok {
		row := webhook.BulkRetryRow{ID: w.newID(id.BulkRetry), State: webhook.BulkRetryRunning, CreatedAt: w.now, UpdatedAt: w.now}
		errs["CreateBulkRetry"] = b.CreateBulkRetry(ctx, row)
		_, errs["UpdateBulkRetry"] = b.UpdateBulkRetry(ctx, row.ID, func(*webhook.BulkRetryRow) error { return nil })
		_, errs["GetBulkRetry"] = b.GetBulkRetry(ctx, row.ID)
		_, errs["ListBulkRetries"] = b.ListBulkRetries(ctx, webhook.BulkRetryQuery{AllTenants: true})
	}
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
		// One fault ends it for all: the others would wait for what the faulty one has claimed.
		ctx, stop := context.WithTimeout(w.ctx, time.Minute)
		defer stop()
		var wg sync.WaitGroup
		run := func(part func(ctx context.Context, endpointIDs []string) error) {
			wg.Go(func() {
				if err := part(ctx, endpoints); err != nil {
					w.t.Errorf("%v", err)
					stop()
				}
			})
		}
		run(w.traffic)
		run(w.traffic)
		run(w.traffic)
		run(w.bystander)
		wg.Wait()
		row, err := w.s.GetEndpoint(w.ctx, endpoints[0])
		w.NoError(err)
		w.Len(row.DisabledReason, 20, "no update was lost")
		w.counts(webhook.Stats{Succeeded: 180}, webhook.StatsQuery{TenantID: acme})
	}},
}

// traffic sends 20 events to each endpoint and claims and finishes until all is delivered.
func (w *world) traffic(ctx context.Context, endpointIDs []string) error {
	for sent := 0; sent < 20; {
		_, generation, err := w.s.SyncEndpoints(ctx, 0, 1)
		if err != nil {
			return err
		}
		g := webhook.SendGroup{Generation: generation, Events: []webhook.NewEvent{w.event(endpointIDs...)}}
		r, err := w.s.Commit(ctx, webhook.Batch{Now: w.now, Sends: []webhook.SendGroup{g}})
		if err != nil {
			return err
		}
		if r.Sends[0].Status == webhook.SendStored { // else stale: an endpoint was changed meanwhile
			sent++
		}
	}
	for {
		res, err := w.s.Claim(ctx, w.request(5))
		if err != nil {
			return err
		}
		if len(res.Claims) == 0 {
			stats, err := w.s.Stats(ctx, w.now, webhook.StatsQuery{TenantID: acme})
			if err != nil || stats.Pending == 0 {
				return err
			}
			continue
		}
		var outcomes []webhook.Outcome
		for _, c := range res.Claims {
			outcomes = append(outcomes, w.outcome(c, 200))
		}
		if _, err := w.s.Commit(ctx, webhook.Batch{Now: w.now, Outcomes: outcomes}); err != nil {
			return err
		}
	}
}

// bystander changes an endpoint, looks at everything and prunes.
func (w *world) bystander(ctx context.Context, endpointIDs []string) error {
	for range 20 {
		_, err := w.s.UpdateEndpoint(ctx, endpointIDs[0], func(row *webhook.EndpointRow) error {
			row.DisabledReason += "x"
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := w.s.ListDeliveries(ctx, w.now, webhook.DeliveryQuery{TenantID: acme}); err != nil {
			return err
		}
		if _, err := w.s.ListAttempts(ctx, webhook.AttemptQuery{TenantID: acme}); err != nil {
			return err
		}
		if _, err := w.s.Prune(ctx, webhook.PruneRequest{Now: w.now, DetailBefore: w.now.Add(time.Hour), Limit: 10}); err != nil {
			return err
		}
	}
	return nil
}
