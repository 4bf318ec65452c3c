package postgres

import (
	"context"
	"errors"
	"fmt"

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
		w := &filter{of: "e."}
		if err := w.after(id.Event, lq.After); err != nil {
			return err
		}
		if !lq.AllTenants {
			w.and("e.tenant = ?", lq.TenantID)
		}
		if lq.Type != "" {
			w.and("e.type = ?", lq.Type)
		}
		w.between("created_at", lq.Since, lq.Until)
		sources := eventTimes.sources(w, lq.Since, lq.Until)
		return q.query(func(r row) error {
			e, err := scanEvent(r)
			out = append(out, e.Event)
			return err
		}, newestOf(sources, " LIMIT "+w.arg(pageSize(lq.Limit)), func(s listing) string {
			return `SELECT ` + eventColumns + ` FROM ` + s.from + s.where() + ` ORDER BY ` + s.order + ` DESC`
		}), w.args...)
	})
	return out, err
}

// event is an event as read.
type event struct {
	webhook.Event
	key, rest int64
}

var eventColumns = `key, rest, tenant, type, created_at, ` +
	optional("attributes", "headers", "endpoint_ids", "trace_context", "idempotency_key") +
	`, coalesce(content_type, 'application/json'), ` + nullable("deliver_at", "expires_at", "erased_at")

func scanEvent(r row, more ...any) (*event, error) {
	e := &event{}
	var created, deliver, expires, erased int64
	var attributes, headers, endpoints string
	err := r.Scan(append([]any{&e.key, &e.rest, &e.TenantID, &e.Type, &created, &attributes, &headers, &endpoints,
		&e.TraceContext, &e.IdempotencyKey, &e.ContentType, &deliver, &expires, &erased}, more...)...)
	if err != nil {
		return e, err
	}
	e.ID, e.CreatedAt = id.Join(id.Event, e.key, e.rest), fromMicro(created)
	e.DeliverAt, e.ExpiresAt, e.ErasedAt = timeOf(deliver), timeOf(expires), timePtr(erased)
	var errs [3]error
	e.Attributes, errs[0] = fromJSON[map[string]string](attributes)
	e.Headers, errs[1] = fromJSON[map[string]string](headers)
	e.EndpointIDs, errs[2] = fromJSON[[]string](endpoints)
	if err := errors.Join(errs[:]...); err != nil {
		return e, fmt.Errorf("event %s is damaged: %w", e.ID, err)
	}
	return e, nil
}

// events reads events with their payloads, by key.
func (q *session) events(keys []int64) (map[int64]*event, error) {
	out := make(map[int64]*event, len(keys))
	return out, q.run(q.readEvents(keys, out))
}

func (q *session) readEvents(keys []int64, out map[int64]*event) *statement {
	return &statement{sql: `SELECT ` + eventColumns + `, payload FROM webhook.event WHERE key = ANY($1::bigint[])`,
		args: []any{keys}, scan: func(r row) error {
			var payload []byte
			e, err := scanEvent(r, &payload)
			e.Payload = payload
			out[e.key] = e
			return err
		}}
}

// eventHead is what deciding about an event takes.
type eventHead struct {
	key, rest      int64
	deliveries     []ident
	fingerprint    []byte
	erased         bool
	tenant, typ    string
	idempotencyKey string
	expiresAt      int64
}

var eventHeadColumns = `e.key, e.rest, e.deliveries, e.fingerprint, e.erased_at IS NOT NULL, e.tenant, e.type, ` +
	optional("e.idempotency_key") + `, ` + nullable("e.expires_at")

func scanEventHead(r row) (*eventHead, error) {
	h := &eventHead{}
	var deliveries []byte
	err := r.Scan(&h.key, &h.rest, &deliveries, &h.fingerprint, &h.erased, &h.tenant, &h.typ, &h.idempotencyKey, &h.expiresAt)
	h.deliveries = unpack(deliveries)
	return h, err
}

// eventHead reads and locks one; nil if it is not there.
func (q *session) eventHead(key int64) (h *eventHead, err error) {
	err = q.query(func(r row) error {
		h, err = scanEventHead(r)
		return err
	}, `SELECT `+eventHeadColumns+` FROM webhook.event e WHERE key = $1 FOR UPDATE`, key)
	return h, err
}

// eventOf is eventHead without the lock.
func (q *session) eventOf(key int64) (h *eventHead, err error) {
	err = q.query(func(r row) error {
		h, err = scanEventHead(r)
		return err
	}, `SELECT `+eventHeadColumns+` FROM webhook.event e WHERE key = $1`, key)
	return h, err
}

// Those with idempotency keys go in the order of their keys: transactions that have several of them in common
// wait for each other in one direction.
var insertEvents = insertingNew("webhook.event",
	`key rest tenant:text type:text created_at deliveries:blob payload:blob attributes:text? content_type:text?
	headers:text? endpoint_ids:text? deliver_at? expires_at? trace_context:text? idempotency_key:text? fingerprint:blob`,
	"ORDER BY u.tenant, u.idempotency_key, u.key ")

// addEvent gathers an event's row.
func (c *commit) addEvent(f *freshEvent) {
	e := &f.Event
	contentType, fingerprint := "", []byte(nil)
	if e.ContentType != "application/json" {
		contentType = e.ContentType
	}
	if e.IdempotencyKey != "" {
		fingerprint = notNil(f.Fingerprint)
	}
	c.events.add(f.key, f.rest, e.TenantID, e.Type, e.CreatedAt.UnixMicro(), pack(f.deliveries), notNil(e.Payload),
		jsonMap(e.Attributes), contentType, jsonMap(e.Headers), jsonList(e.EndpointIDs),
		micro(e.DeliverAt), micro(e.ExpiresAt), e.TraceContext, e.IdempotencyKey, fingerprint)
}

// notNil keeps an empty slice apart from NULL.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
