package memory

import (
	"context"
	"fmt"

	"github.com/outhook/webhook"
)

// Erase implements [webhook.Store].
func (s *Store) Erase(ctx context.Context, r webhook.EraseRequest) (webhook.EraseResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.EraseResult{}, err
	}
	if r.EventID == "" {
		return s.eraseTenant(r.TenantID, max(r.Limit, 1)), nil
	}
	e := s.events[r.EventID]
	if e == nil {
		return webhook.EraseResult{}, eventNotFound(r.EventID)
	}
	return s.eraseEvent(e, r.Now.UnixMicro()), nil
}

func (s *Store) eraseEvent(e *event, now int64) (r webhook.EraseResult) {
	e.Payload = nil
	if e.ErasedAt == nil {
		erased := at(now)
		e.ErasedAt = &erased
	}
	for _, d := range e.deliveries {
		for _, a := range d.attempts {
			strip(&a.DeliveryAttempt, now)
		}
		if s.cancel(d, webhook.CodeDataArchived, now) == webhook.RequeueDone {
			r.Canceled = append(r.Canceled, d.id)
		}
	}
	return r
}

// eraseTenant removes endpoints first, so that nothing new is sent to them, then events with all that
// hangs on them.
func (s *Store) eraseTenant(tenantID string, limit int) (r webhook.EraseResult) {
	rows := s.tenants[tenantID]
	if rows == nil {
		s.eraseBulkRetries(tenantID)
		return r
	}
	for _, e := range rows.endpoints.up("", limit) {
		s.eraseEndpoint(e)
		rows.endpoints.remove(e.row.ID)
		limit--
	}
	for _, e := range rows.events.up("", limit) {
		// Not from the front: drop shortens the slice, and takes the event with the last.
		for i := len(e.deliveries) - 1; i >= 0; i-- {
			d := e.deliveries[i]
			if d.pending() {
				r.Canceled = append(r.Canceled, d.id)
			}
			s.drop(d)
			limit--
		}
		if s.events[e.ID] == e {
			s.dropEvent(e)
		}
		if limit--; limit <= 0 {
			break
		}
	}
	s.eraseBulkRetries(tenantID)
	r.More = rows.endpoints.len()+rows.events.len() > 0
	if !r.More {
		delete(s.tenants, tenantID)
	}
	return r
}

// eraseEndpoint leaves a row without content behind, from which other processes learn of the
// deletion. Only SyncEndpoints shows it.
func (s *Store) eraseEndpoint(e *endpoint) {
	s.all.endpoints.remove(e.row.ID)
	e.erased = true
	s.store(e, webhook.EndpointRow{ID: e.row.ID, TenantID: e.row.TenantID, State: webhook.EndpointDeleted})
}

func eventNotFound(id string) error { return fmt.Errorf("%w: event %s", webhook.ErrNotFound, id) }
