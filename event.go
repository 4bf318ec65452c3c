package webhook

import (
	"encoding/json"
	"time"
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
