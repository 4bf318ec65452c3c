package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// The types of operational events, see [Operational].
const (
	EndpointDisabledType  = "webhook.endpoint.disabled"
	EndpointFailingType   = "webhook.endpoint.failing"   // 10 attempts in a row failed
	EndpointRecoveredType = "webhook.endpoint.recovered" // one that was failing succeeded
	DeliveryExhaustedType = "webhook.delivery.exhausted" // the retry policy gave it up
)

// Operational makes the dispatcher send events about endpoints and deliveries themselves, to endpoints
// like any other: signed, retried and on record. An endpoint gets them only if its EventTypes name them,
// as "webhook.*", "webhook.endpoint.*" or one by one; neither "*" nor an empty list does. The payload has
// the form that Standard Webhooks recommends, {"type", "timestamp", "data"}; see [OperationalData].
//
// No operational event is sent about the delivery of one, so there are no loops.
//
// It is stored right after what it tells of, in a transaction of its own, and that is tried until it
// works or the process ends. If the process dies in the few milliseconds between the two, the event is
// lost, except EndpointFailingType, which the next process makes up for. An idempotency key sees to it
// that several processes tell of one thing once.
type Operational struct {
	// Tenant says whose endpoints are told of what concerns a tenant: the same one for all, such as
	// "operator", or the tenant. It must be safe for concurrent use. Default: the tenant.
	Tenant func(tenantID string) string
	// Types are the types to send. Default: all.
	Types []string
}

// OperationalData is what an operational event tells, in the "data" of its payload.
type OperationalData struct {
	TenantID     string     `json:"tenantId"`
	EndpointID   string     `json:"endpointId"`
	EndpointURL  string     `json:"endpointUrl"`              // without its query
	Reason       string     `json:"reason,omitempty"`         // why it was disabled
	FailingSince *time.Time `json:"failingSince,omitempty"`   // of one that fails
	EventID      string     `json:"eventId,omitempty"`        // these are of an exhausted delivery
	EventType    string     `json:"eventType,omitempty"`      //
	DeliveryID   string     `json:"deliveryId,omitempty"`     //
	AttemptCount int        `json:"attemptCount,omitempty"`   //
	ErrorCode    ErrorCode  `json:"errorCode,omitempty"`      // of its last attempt
	Response     *int       `json:"responseStatus,omitempty"` // of its last attempt; absent if none came
}

// operational holds events that are to be sent, until they are stored.
type operational struct {
	sending sync.Mutex // one flush at a time

	mu     sync.Mutex
	queue  []Event       // guarded by mu
	stored int           // so many in all, by whomever; guarded by mu
	wake   chan struct{} // holds one: there is something in the queue
}

const (
	maxOperational   = 10_000 // events waiting to be stored; more are dropped, and the log says so
	operationalBatch = 100
)

func isOperational(eventType string) bool {
	switch eventType {
	case EndpointDisabledType, EndpointFailingType, EndpointRecoveredType, DeliveryExhaustedType:
		return true
	}
	return false
}

// tell makes an event of a notice, if that was asked for.
func (d *Dispatcher) tell(n Notice) {
	cfg := d.cfg.Operational
	if cfg == nil {
		return
	}
	eventType, key, data := describe(n)
	if eventType == "" || len(cfg.Types) > 0 && !slices.Contains(cfg.Types, eventType) {
		return
	}
	tenant := data.TenantID
	if cfg.Tenant != nil {
		tenant = cfg.Tenant(tenant)
	}
	payload, err := json.Marshal(struct {
		Type      string          `json:"type"`
		Timestamp time.Time       `json:"timestamp"`
		Data      OperationalData `json:"data"`
	}{eventType, d.now(), data})
	if err != nil {
		d.log.Error("webhook: operational event cannot be encoded", "type", eventType, "error", err)
		return
	}
	if !d.operational.add(Event{TenantID: tenant, Type: eventType, Payload: payload, IdempotencyKey: eventType + "/" + key}) {
		d.log.Error("webhook: too many operational events wait for the store; one is dropped", "type", eventType, "endpoint", data.EndpointID)
	}
}

// tellAgain makes up for a process that died before it could tell.
func (d *Dispatcher) tellAgain(row EndpointRow) {
	if d.cfg.Operational == nil {
		return
	}
	if e, err := d.decodeEndpoint(row); err == nil {
		d.tell(Notice{Kind: NoticeEndpointFailing, Endpoint: &e, Health: &row.Health})
	}
}

// describe says what to tell of a notice; the key is the same whichever process tells of it.
func describe(n Notice) (eventType, key string, data OperationalData) {
	if n.Endpoint == nil {
		return "", "", data
	}
	data = OperationalData{TenantID: n.Endpoint.TenantID, EndpointID: n.Endpoint.ID, EndpointURL: withoutQuery(n.Endpoint.URL)}
	switch n.Kind {
	case NoticeEndpointDisabled:
		data.Reason = n.Endpoint.DisabledReason
		return EndpointDisabledType, fmt.Sprintf("%s/%d", data.EndpointID, n.Endpoint.UpdatedAt.UnixMicro()), data
	case NoticeEndpointFailing:
		data.FailingSince = timeOrNull(n.Health.FailingSince)
		return EndpointFailingType, fmt.Sprintf("%s/%d", data.EndpointID, n.Health.FailingSince.UnixMicro()), data
	case NoticeEndpointRecover:
		return EndpointRecoveredType, fmt.Sprintf("%s/%d", data.EndpointID, n.Health.LastFailureAt.UnixMicro()), data
	case NoticeExhausted:
		if isOperational(n.Delivery.EventType) {
			return "", "", data
		}
		data.EventID, data.EventType, data.DeliveryID = n.Delivery.EventID, n.Delivery.EventType, n.Delivery.ID
		data.AttemptCount, data.ErrorCode = n.Delivery.AttemptCount, n.Delivery.FailureCode
		if n.Attempt != nil {
			data.ErrorCode, data.Response = n.Attempt.ErrorCode, n.Attempt.StatusCode
		}
		return DeliveryExhaustedType, fmt.Sprintf("%s/%d", data.DeliveryID, data.AttemptCount), data
	}
	return "", "", data
}

func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}

func (o *operational) add(e Event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= maxOperational {
		return false
	}
	o.queue = append(o.queue, e)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return true
}

// tellers stores operational events while Run runs.
func (r *run) tellers(ctx context.Context) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-r.d.operational.wake:
		}
		for {
			if err := r.d.flushOperational(ctx); err == nil {
				wait = time.Second
				break
			}
			if !sleep(ctx, wait, nil) {
				return
			}
			wait = min(2*wait, 30*time.Second)
		}
	}
}

// tellOfResults stores what the results of a run gave to tell of.
func (d *Dispatcher) tellOfResults(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWrites)
	defer cancel()
	if err := d.flushOperational(ctx); err != nil {
		d.log.Error("webhook: operational events are not stored", "error", err)
	}
}

// flushOperational stores what waits. What the store does not take stays.
func (d *Dispatcher) flushOperational(ctx context.Context) error {
	o := &d.operational
	o.sending.Lock()
	defer o.sending.Unlock()
	for {
		o.mu.Lock()
		batch := slices.Clone(o.queue[:min(len(o.queue), operationalBatch)])
		o.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		n, err := d.storeOperational(ctx, batch)
		if err != nil {
			return err
		}
		o.mu.Lock()
		o.queue = slices.Delete(o.queue, 0, len(batch))
		o.stored += n
		o.mu.Unlock()
	}
}

func (o *operational) storedSoFar() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stored
}

// storeOperational sends a batch, or, if one of it is at fault, each alone.
func (d *Dispatcher) storeOperational(ctx context.Context, batch []Event) (stored int, err error) {
	_, err = d.send(ctx, "", batch)
	switch {
	case err == nil:
		return len(batch), nil
	case !errors.Is(err, ErrConflict) && !errors.Is(err, ErrInvalid):
		return 0, err
	case len(batch) > 1:
		for _, e := range batch {
			n, err := d.storeOperational(ctx, []Event{e})
			if err != nil {
				return stored, err
			}
			stored += n
		}
		return stored, nil
	case errors.Is(err, ErrInvalid):
		d.log.Error("webhook: operational event is refused; see Operational.Tenant", "type", batch[0].Type, "error", err)
	}
	return 0, nil // a conflict: another process told of it before
}
