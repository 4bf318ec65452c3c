package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/id"
)

// Event is something that happened, to be told to every matching endpoint of its tenant.
type Event struct {
	ID       string // evt_…, assigned by Send
	TenantID string // "" is a tenant too
	// Type is dot-delimited: letters, digits, "_", "-" and ".", at most 128 bytes.
	Type string
	// Payload is sent byte for byte as given; at most Config.MaxPayload. It must not be nil.
	Payload     []byte
	ContentType string // application/json
	// IdempotencyKey, at most 255 bytes: a second Send with the same tenant, key, type and payload
	// gets the first Receipt with Duplicate set; with another type or payload, ErrConflict. A key
	// lives as long as its event.
	IdempotencyKey string
	// Attributes are for Endpoint.Match and for filters: at most 32, keys up to 64 and values up to
	// 512 bytes of UTF-8. They are not sent.
	Attributes map[string]string
	// Headers are sent with it, after the endpoint's own; never in place of the signed ones.
	Headers map[string]string
	// EndpointIDs restricts it to these, whatever their filters; empty: all that match. At most 1,000.
	EndpointIDs []string
	DeliverAt   time.Time // zero: now; at most a year ahead
	ExpiresAt   time.Time // not tried any more after that; zero: never
	// TraceContext is a W3C traceparent, or empty; stored for Observers.
	TraceContext string
	CreatedAt    time.Time // assigned by Send
	// ErasedAt is set when EraseEvent took the payload.
	ErasedAt *time.Time
}

// Receipt is what Send returns. An event without a matching endpoint is stored too, and has no
// deliveries.
type Receipt struct {
	EventID     string   `json:"eventId"`
	DeliveryIDs []string `json:"deliveryIds"`
	Duplicate   bool     `json:"duplicate"`
}

// The limits of SendBatch.
const (
	maxBatchEvents     = 1000
	maxBatchDeliveries = 10_000
)

// leaseMargin is what a lease has beyond the longest timeout; an attempt begins only while what is left
// of the lease exceeds its timeout by startMargin.
const (
	leaseMargin = 15 * time.Second
	startMargin = 5 * time.Second
)

// leaseFrom says until when a lease that begins at t is valid.
func (d *Dispatcher) leaseFrom(t time.Time) time.Time {
	return t.Add(d.directory.longestTimeout() + leaseMargin)
}

// Send stores an event and its deliveries to all matching endpoints, durably, and returns. Run, in this
// process or another, delivers them. An error means that nothing was stored, with exceptions: if ctx
// ended, the store's connection broke or its disk failed or was full, that is unknown, and repeating
// Send with the same IdempotencyKey is safe. Send works whether or not Run is running. It does not keep ev's slices and maps.
//
// Errors: ErrInvalid, ErrPayloadTooLarge, ErrConflict (the IdempotencyKey stands for another event),
// ErrClosed, and the store's own.
func (d *Dispatcher) Send(ctx context.Context, ev Event) (Receipt, error) {
	ctx, events, ended := d.observeSend(ctx, []Event{ev})
	receipts, err := d.send(ctx, "Event", events)
	ended(receipts, err)
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// SendBatch is Send for up to 1,000 events with up to 10,000 deliveries in all: all are stored or none.
func (d *Dispatcher) SendBatch(ctx context.Context, events []Event) ([]Receipt, error) {
	if len(events) > maxBatchEvents {
		return nil, invalid("events", "are %d; at most %d go into one batch", len(events), maxBatchEvents)
	}
	if len(events) == 0 {
		return nil, ctx.Err()
	}
	ctx, events, ended := d.observeSend(ctx, events)
	receipts, err := d.send(ctx, "", events)
	ended(receipts, err)
	return receipts, err
}

func (d *Dispatcher) send(ctx context.Context, field string, events []Event) ([]Receipt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := d.askTime(ctx, d.store); err != nil {
		return nil, err
	}
	now := d.now()
	fresh := make([]Event, len(events))
	for i := range events {
		name := field
		if name == "" {
			name = fmt.Sprintf("events[%d]", i)
		}
		if err := d.validateEvent(name, &events[i], now); err != nil {
			return nil, err
		}
		fresh[i] = events[i].own()
		fresh[i].CreatedAt = now
	}
	if d.directory.current() < 0 {
		if err := d.directory.refresh(ctx, d.store); err != nil {
			return nil, err
		}
	}
	return d.untilStored(ctx, d.store, func() (SendResult, error) { return d.sendOnce(ctx, fresh) })
}

// maxSendTries bounds how often a Send is matched anew because endpoints keep changing.
const maxSendTries = 100

// untilStored repeats a send whose fan-out was overtaken by a change of endpoints.
func (d *Dispatcher) untilStored(ctx context.Context, store EndpointStore, once func() (SendResult, error)) ([]Receipt, error) {
	var busy wait
	for range maxSendTries {
		result, err := once()
		for err == nil && result.Status == SendBusy {
			if err = busy.more(ctx); err == nil {
				result, err = once()
			}
		}
		if err != nil {
			return nil, err
		}
		switch result.Status {
		case SendStored:
			return result.Receipts, nil
		case SendConflict:
			return nil, fmt.Errorf("%w: event %d has an IdempotencyKey that stands for another type or payload",
				ErrConflict, result.ConflictAt)
		case SendStale:
			if err := d.directory.refresh(ctx, store); err != nil {
				return nil, err
			}
		case SendTaken, SendGone: // other IDs are drawn
		}
	}
	return nil, fmt.Errorf("%w: endpoints changed %d times while the event was being stored; send it again", ErrConflict, maxSendTries)
}

// wait is for a transaction that somebody else has open.
type wait struct{ total, pause time.Duration }

// longestBusy is how long a Send waits for an open transaction to take its idempotency key or not.
const longestBusy = 10 * time.Second

func (w *wait) more(ctx context.Context) error {
	if w.total >= longestBusy {
		return fmt.Errorf("%w: another transaction is about to store an event with this IdempotencyKey, and has stayed open for %v; "+
			"send it again when that has ended", ErrConflict, longestBusy)
	}
	w.pause = min(max(5*time.Millisecond, 2*w.pause), 250*time.Millisecond)
	w.total += w.pause
	if !sleep(ctx, w.pause, nil) {
		return ctx.Err()
	}
	return nil
}

// SendTx stores an event in a transaction of yours, made with your store's WithTx: it is sent if you
// commit and never was if you roll back. Call Wake after the commit, or the next poll finds it. The
// error is Send's, and then you should roll back.
//
//	receipt, err := d.SendTx(ctx, st.WithTx(tx), event)
func (d *Dispatcher) SendTx(ctx context.Context, tx Tx, ev Event) (Receipt, error) {
	ctx, events, ended := d.observeSend(ctx, []Event{ev})
	receipts, err := d.sendTx(ctx, tx, events[0])
	ended(receipts, err)
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

func (d *Dispatcher) sendTx(ctx context.Context, tx Tx, ev Event) ([]Receipt, error) {
	if tx == nil || tx.Bound() != d.store {
		return nil, invalid("tx", "is not of the dispatcher's store; make it with that store's WithTx")
	}
	if err := d.askTime(ctx, tx); err != nil {
		return nil, err
	}
	now := d.now()
	if err := d.validateEvent("Event", &ev, now); err != nil {
		return nil, err
	}
	ev = ev.own()
	ev.CreatedAt = now
	// Everything goes through the transaction: its connection may be the only one there is.
	if d.directory.current() < 0 {
		if err := d.directory.refresh(ctx, tx); err != nil {
			return nil, err
		}
	}
	return d.untilStored(ctx, tx, func() (SendResult, error) {
		c, err := d.prepare(ctx, tx, []Event{ev})
		if err != nil {
			return SendResult{}, err
		}
		res, err := tx.Commit(ctx, Batch{Now: now, Sends: []SendGroup{*c.group}})
		if err != nil {
			return SendResult{}, err
		}
		return c.judged(res.Sends[0], nil)
	})
}

// own returns the event with slices and maps that the caller cannot change any more.
func (e Event) own() Event {
	e.Payload = append(make([]byte, 0, len(e.Payload)), e.Payload...)
	e.Attributes, e.Headers = maps.Clone(e.Attributes), maps.Clone(e.Headers)
	e.EndpointIDs = slices.Clone(e.EndpointIDs)
	if e.ContentType == "" {
		e.ContentType = "application/json"
	}
	e.DeliverAt, e.ExpiresAt = wholeMicros(e.DeliverAt), wholeMicros(e.ExpiresAt)
	e.ErasedAt = nil
	return e
}

func wholeMicros(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return micros(t)
}

// sendOnce matches the events against the endpoints known and tries to store them.
func (d *Dispatcher) sendOnce(ctx context.Context, events []Event) (SendResult, error) {
	c, err := d.prepare(ctx, d.store, events)
	if err != nil {
		return SendResult{}, err
	}
	if r := d.current.Load(); r != nil {
		d.handOver(r, c)
	} else {
		c.wake = true // a Run that begins before the commit may have looked in vain
	}
	return c.judged(d.commitGroup(ctx, c))
}

// commitGroup lets a group ride the next commit and waits for the answer.
func (d *Dispatcher) commitGroup(ctx context.Context, c *commit) (SendResult, error) {
	c.done = make(chan sendReply, 1)
	d.commits.Add(c, batch.Urgent)
	select {
	case reply := <-c.done:
		return reply.result, reply.err
	case <-ctx.Done():
		return SendResult{}, fmt.Errorf("webhook: it is not known whether the event was stored: %w", ctx.Err())
	}
}

// prepare gives the events IDs and deliveries to the endpoints that match. If endpoints change
// meanwhile, the older generation is taken, and the store will call the group stale.
func (d *Dispatcher) prepare(ctx context.Context, store EndpointStore, events []Event) (*commit, error) {
	c := &commit{group: &SendGroup{Events: make([]NewEvent, len(events))}, matched: make([][]*known, len(events))}
	deliveries := 0
	for i, e := range events {
		matched, generation, err := d.directory.match(&e)
		if err != nil {
			matched, generation, err = d.rematch(ctx, store, &e)
		}
		if errors.Is(err, ErrInvalid) && e.IdempotencyKey != "" {
			c.refusal, generation, err = err, neverCurrent, nil
		}
		if err != nil {
			return nil, err
		}
		if i == 0 || generation < c.group.Generation {
			c.group.Generation = generation
		}
		if deliveries += len(matched); len(events) > 1 && deliveries > maxBatchDeliveries {
			return nil, invalid("events", "make more than %d deliveries; send fewer at once", maxBatchDeliveries)
		}
		e.ID = d.newID(id.Event)
		c.matched[i] = matched
		c.group.Events[i] = NewEvent{Event: e, Fingerprint: e.fingerprint(), Deliveries: d.fanOut(&e, matched)}
	}
	return c, nil
}

// neverCurrent is a generation with which a store takes nothing new. An event whose endpoints are not all
// there may be a repetition of one that was stored when they were.
const neverCurrent = -1

// judged is the error of a group that turned out to be no repetition.
func (c *commit) judged(res SendResult, err error) (SendResult, error) {
	if err == nil && c.refusal != nil && res.Status == SendStale {
		return SendResult{}, c.refusal
	}
	return res, err
}

// rematch gives an event another chance whose endpoints are not known here, but may be new.
func (d *Dispatcher) rematch(ctx context.Context, store EndpointStore, e *Event) ([]*known, int64, error) {
	if err := d.directory.refresh(ctx, store); err != nil {
		return nil, 0, err
	}
	return d.directory.match(e)
}

func (e *Event) fingerprint() []byte {
	if e.IdempotencyKey == "" {
		return nil
	}
	h := sha256.New()
	h.Write([]byte(e.Type))
	h.Write([]byte{0})
	h.Write(e.Payload)
	return h.Sum(nil)
}

func (d *Dispatcher) fanOut(e *Event, matched []*known) []NewDelivery {
	due := latest(e.CreatedAt, e.DeliverAt)
	deliveries := make([]NewDelivery, len(matched))
	for i, k := range matched {
		deliveries[i] = NewDelivery{ID: d.newID(id.Delivery), EndpointID: k.row.ID, DueAt: due}
	}
	return deliveries
}

// handOver leases deliveries to this process right as they are stored, as far as there is room: then no
// claim has to be written for them. The leases begin with the commit, see leaseUntil.
func (d *Dispatcher) handOver(r *run, c *commit) {
	c.run = r
	c.jobs = make([][]*job, len(c.group.Events))
	for i := range c.group.Events {
		e := &c.group.Events[i]
		if e.Event.DeliverAt.After(e.Event.CreatedAt) {
			r.dueAt(e.Event.DeliverAt)
			continue
		}
		for n, k := range c.matched[i] {
			if k.row.State != EndpointEnabled {
				continue
			}
			if k.endpoint.Ordered {
				c.wake = true
				continue
			}
			j, full := r.queue.reserve(k, len(e.Event.Payload))
			if full != nil {
				c.full = append(c.full, full)
				continue
			}
			delivery := &e.Deliveries[n]
			delivery.LeasedBy = d.owner
			j.claim = Claim{
				DeliveryID: delivery.ID, EndpointID: delivery.EndpointID, Event: e.Event,
				Lease: 1, AttemptNumber: 1, Trigger: TriggerInitial,
				DueAt: delivery.DueAt, CreatedAt: e.Event.CreatedAt,
			}
			c.jobs[i] = append(c.jobs[i], j)
		}
	}
}

// eventJSON is the wire form of an Event. A payload that is JSON stands as it is, any other in
// base64.
type eventJSON struct {
	ID             string            `json:"id"`
	TenantID       string            `json:"tenantId"`
	Type           string            `json:"type"`
	Payload        json.RawMessage   `json:"payload,omitempty"`
	PayloadBase64  []byte            `json:"payloadBase64,omitempty"`
	ContentType    string            `json:"contentType"`
	IdempotencyKey *string           `json:"idempotencyKey"`
	Attributes     map[string]string `json:"attributes"`
	Headers        map[string]string `json:"headers"`
	EndpointIDs    []string          `json:"endpointIds,omitempty"`
	DeliverAt      *time.Time        `json:"deliverAt"`
	ExpiresAt      *time.Time        `json:"expiresAt"`
	TraceContext   string            `json:"traceContext,omitempty"`
	CreatedAt      time.Time         `json:"createdAt"`
	ErasedAt       *time.Time        `json:"erasedAt"`
}

// MarshalJSON writes the event for people and tools. Stores keep payloads byte for byte; here a JSON
// payload may lose insignificant white space.
func (e Event) MarshalJSON() ([]byte, error) {
	j := eventJSON{
		ID: e.ID, TenantID: e.TenantID, Type: e.Type, ContentType: e.ContentType,
		IdempotencyKey: orNull(e.IdempotencyKey), Attributes: e.Attributes, Headers: e.Headers,
		EndpointIDs: e.EndpointIDs, DeliverAt: timeOrNull(e.DeliverAt), ExpiresAt: timeOrNull(e.ExpiresAt),
		TraceContext: e.TraceContext, CreatedAt: e.CreatedAt, ErasedAt: e.ErasedAt,
	}
	if json.Valid(e.Payload) {
		j.Payload = e.Payload
	} else {
		j.PayloadBase64 = e.Payload
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Event) UnmarshalJSON(data []byte) error {
	var j eventJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*e = Event{
		ID: j.ID, TenantID: j.TenantID, Type: j.Type, Payload: j.PayloadBase64, ContentType: j.ContentType,
		IdempotencyKey: orZero(j.IdempotencyKey), Attributes: j.Attributes, Headers: j.Headers,
		EndpointIDs: j.EndpointIDs, DeliverAt: orZero(j.DeliverAt), ExpiresAt: orZero(j.ExpiresAt),
		TraceContext: j.TraceContext, CreatedAt: j.CreatedAt, ErasedAt: j.ErasedAt,
	}
	if j.Payload != nil {
		e.Payload = j.Payload
	}
	return nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
