package sqldb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// GetEvent implements [webhook.Store].
func (s *Store) GetEvent(ctx context.Context, eventID string) (ev webhook.Event, err error) {
	err = s.read(ctx, func(q *session) error {
		key, rest, ok := id.Split(id.Event, eventID)
		if !ok {
			return eventNotFound(eventID)
		}
		events, err := q.events([]int64{key})
		if err != nil {
			return err
		}
		e, ok := events[key]
		if !ok || e.rest != rest {
			return eventNotFound(eventID)
		}
		ev = e.Event
		return nil
	})
	return ev, err
}

func eventNotFound(eventID string) error {
	return fmt.Errorf("%w: event %s", webhook.ErrNotFound, eventID)
}

// ListEvents implements [webhook.Store].
func (s *Store) ListEvents(ctx context.Context, lq webhook.EventQuery) (out []webhook.Event, err error) {
	err = s.read(ctx, func(q *session) error {
		before, err := after(id.Event, lq.After)
		if err != nil {
			return err
		}
		w, from, err := q.eventFilter(lq)
		if err != nil || from == nil {
			return err
		}
		limit := int(pageSize(lq.Limit))
		err = walk(from, before, limit, func(keys []int64) (bool, error) {
			page, err := q.eventPage(w, keys)
			out = append(out, page...)
			return len(out) >= limit, err
		})
		out = out[:min(limit, len(out))]
		return err
	})
	return out, err
}

// eventFilter returns all conditions of a list, and where its candidates come from; nil: there are none.
func (q *session) eventFilter(lq webhook.EventQuery) (w *filter, from candidates, err error) {
	w = &filter{}
	by, found := "", false
	if !lq.AllTenants {
		if _, found, err = w.name(q, "tenant", lq.TenantID); err != nil || !found {
			return nil, nil, err
		}
		by += "_tenant"
	}
	if lq.Type != "" {
		if _, found, err = w.name(q, "type", lq.Type); err != nil || !found {
			return nil, nil, err
		}
		by += "_type"
	}
	in := eventTimes.stretch(lq.Since, lq.Until)
	if by == "" {
		from = q.indexed("webhook_event", "", in, "")
	} else {
		terms := strings.Join(w.terms, " AND ") + " AND (deliveries IS NULL) = "
		from = union(q.indexed("webhook_event", "webhook_event"+by, in, terms+"0", w.args...),
			q.indexed("webhook_event", "webhook_event"+by, in, terms+"1", w.args...))
	}
	w.created("created_at", lq.Since, lq.Until)
	from, err = eventTimes.with(q, from, lq.Since, lq.Until)
	return w, from, err
}

// eventPage reads those of the candidates that pass, newest first.
func (q *session) eventPage(narrow *filter, keys []int64) (page []webhook.Event, err error) {
	w := filter{terms: slices.Clip(narrow.terms), args: slices.Clip(narrow.args)}
	w.and(among("key"), jsonKeys(keys))
	var read []*event
	if err = q.query(func(r row) error {
		e, err := scanEvent(r)
		read = append(read, e)
		return err
	}, `SELECT `+eventColumns+` FROM webhook_event NOT INDEXED`+w.where(), w.args...); err != nil {
		return nil, err
	}
	slices.SortFunc(read, func(a, b *event) int { return descending(a.key, b.key) })
	for _, e := range read {
		if err := q.complete(e); err != nil {
			return nil, err
		}
		page = append(page, e.Event)
	}
	return page, nil
}

// event is an event as read, its names still to be looked up.
type event struct {
	webhook.Event
	key, rest   int64
	tenant, typ int64
	deliveries  []ident
	fingerprint []byte
}

const (
	eventColumns = `key, rest, tenant, type, created_at, attributes, deliveries, content_type, headers,
	endpoint_ids, deliver_at, expires_at, trace_context, idempotency_key, fingerprint, erased_at`
	payloadColumn = 16
)

func scanEvent(r row) (*event, error) {
	e := &event{key: r.int(0), rest: r.int(1), tenant: r.int(2), typ: r.int(3)}
	e.CreatedAt = r.time(4)
	var errs [3]error
	e.Attributes, errs[0] = r.stringMap(5)
	e.deliveries = unpack(r.bytes(6))
	e.ContentType = "application/json"
	if !r.null(7) {
		e.ContentType = r.str(7)
	}
	e.Headers, errs[1] = r.stringMap(8)
	e.EndpointIDs, errs[2] = r.list(9)
	e.DeliverAt, e.ExpiresAt = r.time(10), r.time(11)
	e.TraceContext, e.IdempotencyKey, e.fingerprint = r.str(12), r.str(13), r.bytes(14)
	e.ErasedAt = r.timePtr(15)
	e.ID = id.Join(id.Event, e.key, e.rest)
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("event %s is damaged: %w", e.ID, err)
		}
	}
	return e, nil
}

// complete looks up names.
func (q *session) complete(e *event) (err error) {
	if e.TenantID, err = q.name(e.tenant); err != nil {
		return err
	}
	e.Type, err = q.name(e.typ)
	return err
}

// events reads events with their payloads, by key.
func (q *session) events(keys []int64) (map[int64]*event, error) {
	out := make(map[int64]*event, len(keys))
	err := inKeys(keys, func(marks string, args []any) error {
		return q.query(func(r row) error {
			e, err := scanEvent(r)
			if err != nil {
				return err
			}
			if !r.null(payloadColumn) {
				e.Payload = r.bytes(payloadColumn)
			}
			out[e.key] = e
			return nil
		}, `SELECT `+eventColumns+`, payload FROM webhook_event WHERE key IN (`+marks+`)`, args...)
	})
	if err != nil {
		return nil, err
	}
	for _, e := range out {
		if err := q.complete(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// eventHead is what deciding about an event takes.
type eventHead struct {
	rest        int64
	deliveries  []ident
	fingerprint []byte
	erased      bool
	tenant, typ int64
	expiresAt   any
}

func (q *session) eventHead(key int64) (h *eventHead, err error) {
	_, err = q.one(func(r row) {
		h = &eventHead{
			rest: r.int(0), deliveries: unpack(r.bytes(1)), erased: !r.null(2),
			tenant: r.int(3), typ: r.int(4), expiresAt: opt(r.opt(5)),
		}
	}, `SELECT rest, deliveries, erased_at, tenant, type, expires_at FROM webhook_event WHERE key = ?`, key)
	return h, err
}

// byIdempotencyKey finds the event that has a tenant's key.
func (q *session) byIdempotencyKey(tenant int64, idempotencyKey string) (key int64, h *eventHead, err error) {
	_, err = q.one(func(r row) {
		key = r.int(0)
		h = &eventHead{rest: r.int(1), deliveries: unpack(r.bytes(2)), fingerprint: r.bytes(3)}
	}, `SELECT key, rest, deliveries, fingerprint FROM webhook_event INDEXED BY webhook_event_idempotency
		WHERE tenant = ? AND idempotency_key = ?`, tenant, idempotencyKey)
	return key, h, err
}

var insertEvents = newTableInserts("webhook_event",
	`key, rest, tenant, type, created_at, deliveries, payload`,
	`attributes, content_type, headers, endpoint_ids, deliver_at, expires_at, trace_context,
	idempotency_key, fingerprint`)

// addEvent gathers an event's row.
func (in *inserter) addEvent(ev *webhook.NewEvent, e ident, tenant, typ int64, deliveries []ident) {
	var contentType, fingerprint any
	if ev.Event.ContentType != "application/json" {
		contentType = ev.Event.ContentType
	}
	if ev.Event.IdempotencyKey != "" {
		fingerprint = blob(ev.Fingerprint)
	}
	in.add(e.key, e.rest, tenant, typ, ev.Event.CreatedAt.UnixMicro(), pack(deliveries), blob(ev.Event.Payload),
		jsonMap(ev.Event.Attributes), contentType, jsonMap(ev.Event.Headers), jsonList(ev.Event.EndpointIDs),
		micro(ev.Event.DeliverAt), micro(ev.Event.ExpiresAt), text(ev.Event.TraceContext),
		text(ev.Event.IdempotencyKey), fingerprint)
}

// blob keeps an empty slice apart from NULL.
func blob(b []byte) any {
	if b == nil {
		return []byte{}
	}
	return b
}
