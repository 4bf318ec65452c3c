package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// GetEvent implements [webhook.Store].
func (s *Store) GetEvent(ctx context.Context, id string) (webhook.Event, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return webhook.Event{}, err
	}
	e := s.events[id]
	if e == nil {
		return webhook.Event{}, eventNotFound(id)
	}
	return copyEvent(e), nil
}

// ListEvents implements [webhook.Store].
func (s *Store) ListEvents(ctx context.Context, q webhook.EventQuery) ([]webhook.Event, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	matches := func(e *event) bool {
		return (q.Type == "" || e.Type == q.Type) &&
			(q.Since.IsZero() || !e.CreatedAt.Before(q.Since)) &&
			(q.Until.IsZero() || e.CreatedAt.Before(q.Until))
	}
	return page(&s.rowsOf(q.TenantID, q.AllTenants).events, q.After, q.Limit, matches,
		func(e *event) webhook.Event {
			out := copyEvent(e)
			out.Payload = nil
			return out
		}), nil
}

// GetDelivery implements [webhook.Store].
func (s *Store) GetDelivery(ctx context.Context, now time.Time, id string) (webhook.DeliveryListItem, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return webhook.DeliveryListItem{}, err
	}
	d := s.deliveries[id]
	if d == nil {
		return webhook.DeliveryListItem{}, fmt.Errorf("%w: delivery %s", webhook.ErrNotFound, id)
	}
	return d.item(now.UnixMicro()), nil
}

// ListDeliveries implements [webhook.Store]. It looks at a tenant's deliveries one by one, or at those
// of the event that is asked for.
func (s *Store) ListDeliveries(ctx context.Context, now time.Time, q webhook.DeliveryQuery) ([]webhook.DeliveryListItem, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	f := deliveryFilter{q, now.UnixMicro()}
	rows := &s.rowsOf(q.TenantID, q.AllTenants).deliveries
	if q.EventID != "" {
		rows = s.deliveriesOf(q.EventID, q.TenantID, q.AllTenants)
	}
	return page(rows, q.After, q.Limit, f.matches,
		func(d *delivery) webhook.DeliveryListItem { return d.item(f.now) }), nil
}

func (s *Store) deliveriesOf(eventID, tenantID string, allTenants bool) *ordered[*delivery] {
	var out ordered[*delivery]
	if e := s.events[eventID]; e != nil && (allTenants || e.TenantID == tenantID) {
		for _, d := range e.deliveries {
			out.put(d)
		}
	}
	return &out
}

// ListAttempts implements [webhook.Store].
func (s *Store) ListAttempts(ctx context.Context, q webhook.AttemptQuery) ([]webhook.DeliveryAttempt, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	rows := &s.rowsOf(q.TenantID, q.AllTenants).attempts
	if q.DeliveryID != "" || q.EventID != "" {
		rows = s.attemptsOf(q)
	}
	return page(rows, q.After, q.Limit, func(a *attempt) bool { return attemptMatches(q, a) }, copyAttempt), nil
}

// attemptsOf gathers the attempts of the delivery, or else of the event, that is asked for.
func (s *Store) attemptsOf(q webhook.AttemptQuery) *ordered[*attempt] {
	var out ordered[*attempt]
	put := func(d *delivery) {
		if q.AllTenants || d.event.TenantID == q.TenantID {
			for _, a := range d.attempts {
				out.put(a)
			}
		}
	}
	if q.DeliveryID != "" {
		if d := s.deliveries[q.DeliveryID]; d != nil {
			put(d)
		}
	} else if e := s.events[q.EventID]; e != nil {
		for _, d := range e.deliveries {
			put(d)
		}
	}
	return &out
}

// The size of a page, unless asked otherwise and at most.
const (
	defaultLimit = 50
	maxLimit     = 500
)

// page goes down from after and returns up to limit of what matches.
func page[T interface{ key() string }, V any](
	rows *ordered[T], after string, limit int, matches func(T) bool, show func(T) V,
) []V {
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	var out []V
	for row := range rows.down(after) {
		if matches(row) {
			if out = append(out, show(row)); len(out) == limit {
				break
			}
		}
	}
	return out
}

type deliveryFilter struct {
	webhook.DeliveryQuery
	now int64
}

func (f *deliveryFilter) matches(d *delivery) bool {
	created := d.createdAt
	return (f.EndpointID == "" || d.endpoint.row.ID == f.EndpointID) &&
		(f.EventType == "" || d.event.Type == f.EventType) &&
		(f.Status == "" || d.state.Status() == f.Status) &&
		(f.Since.IsZero() || !created.Before(f.Since)) &&
		(f.Until.IsZero() || created.Before(f.Until)) &&
		(f.FinishedSince.IsZero() || !d.pending() && d.endedAt >= f.FinishedSince.UnixMicro()) &&
		(len(f.States) == 0 || slices.Contains(f.States, d.shownState(f.now))) &&
		f.matchesCode(d) && f.matchesClass(d) && f.matchesAttributes(d)
}

func (f *deliveryFilter) matchesCode(d *delivery) bool {
	last := d.last()
	return f.ErrorCode == "" || d.failureCode == f.ErrorCode || last != nil && last.ErrorCode == f.ErrorCode
}

func (f *deliveryFilter) matchesClass(d *delivery) bool {
	last := d.last()
	return f.ResponseClass == 0 ||
		last != nil && last.StatusCode != nil && *last.StatusCode/100 == f.ResponseClass
}

func (f *deliveryFilter) matchesAttributes(d *delivery) bool {
	for k, v := range f.Attributes {
		if has, ok := d.event.Attributes[k]; !ok || has != v {
			return false
		}
	}
	return true
}

func attemptMatches(q webhook.AttemptQuery, a *attempt) bool {
	return (q.EndpointID == "" || a.EndpointID == q.EndpointID) &&
		(q.EventID == "" || a.EventID == q.EventID) &&
		(q.Status == "" || a.Status == q.Status) &&
		(q.ErrorCode == "" || a.ErrorCode == q.ErrorCode) &&
		(q.Since.IsZero() || !a.StartedAt.Before(q.Since)) &&
		(q.Until.IsZero() || a.StartedAt.Before(q.Until))
}

// shownState derives what views show from the row and its endpoint.
func (d *delivery) shownState(now int64) webhook.DeliveryState {
	switch {
	case !d.pending():
		return d.state
	case d.leasedBy != "":
		return webhook.StateSending
	case d.endpoint.holds():
		return webhook.StateHeld
	case d.dueAt > now:
		return webhook.StateScheduled
	}
	return webhook.StateQueued
}

func (e *endpoint) holds() bool {
	return e.row.State == webhook.EndpointPaused || e.row.State == webhook.EndpointDisabled
}

func (e *endpoint) holdReason() string {
	if e.row.State == webhook.EndpointPaused || e.row.DisabledReason == "" {
		return string(e.row.State)
	}
	return string(e.row.State) + ": " + e.row.DisabledReason
}

func (d *delivery) item(now int64) webhook.DeliveryListItem {
	state := d.shownState(now)
	item := webhook.DeliveryListItem{
		ID: d.id, TenantID: d.event.TenantID, EventID: d.event.ID, EventType: d.event.Type,
		EndpointID: d.endpoint.row.ID, Status: d.state.Status(), State: state,
		AttemptCount: len(d.attempts), DeferralCount: d.deferrals, FailureCode: d.failureCode,
		ExpiresAt: timeOrNil(d.event.ExpiresAt), CreatedAt: d.createdAt, UpdatedAt: at(d.updatedAt),
		Attributes: maps.Clone(d.event.Attributes),
	}
	if last := d.last(); last != nil {
		item.LastErrorCode = last.ErrorCode
		item.LastAttempt = last.summary()
	}
	if d.pending() {
		item.DueAt = timeOrNil(at(d.dueAt))
		if item.LastErrorCode != "" && state != webhook.StateHeld {
			item.NextRetryAt = timeOrNil(at(d.dueAt))
		}
	}
	if state == webhook.StateHeld {
		item.HoldReason = d.endpoint.holdReason()
	}
	return item
}

func (a *attempt) summary() *webhook.LastAttempt {
	l := &webhook.LastAttempt{AttemptedAt: a.StartedAt}
	if a.StatusCode != nil {
		l.ResponseStatus = copyOf(a.StatusCode)
	} else {
		l.ErrorMessage = copyOf(&a.Error)
	}
	return l
}

func copyEvent(e *event) webhook.Event {
	out := e.Event
	out.Attributes, out.Headers = maps.Clone(e.Attributes), maps.Clone(e.Headers)
	out.EndpointIDs, out.ErasedAt = slices.Clone(e.EndpointIDs), copyOf(e.ErasedAt)
	return out
}

func copyAttempt(a *attempt) webhook.DeliveryAttempt {
	out := a.DeliveryAttempt
	out.RequestHeaders, out.ResponseHeaders = maps.Clone(a.RequestHeaders), maps.Clone(a.ResponseHeaders)
	out.ResponseBodyPreview, out.Timings = copyOf(a.ResponseBodyPreview), copyOf(a.Timings)
	out.StatusCode, out.RetryAfterMS = copyOf(a.StatusCode), copyOf(a.RetryAfterMS)
	out.DeliveredAt, out.RespondedAt = copyOf(a.DeliveredAt), copyOf(a.RespondedAt)
	out.NextAttemptAt, out.DetailPrunedAt = copyOf(a.NextAttemptAt), copyOf(a.DetailPrunedAt)
	return out
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
