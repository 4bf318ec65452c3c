package webhook

import (
	"context"
	"encoding/json"
)

// Typed is a payload that names its event type, which must not depend on the value.
type Typed interface {
	EventType() string
}

// Publish sends a typed payload as JSON, with the settings of another Event if one is given:
//
//	webhook.Publish(ctx, d, OrderCreated{Number: 1}, webhook.Event{TenantID: "acme"})
//
// It is Send of what [EventOf] makes, and has the errors of both. For SendBatch and SendTx use EventOf.
func Publish[T Typed](ctx context.Context, d *Dispatcher, payload T, settings ...Event) (Receipt, error) {
	ev, err := EventOf(payload, settings...)
	if err != nil {
		return Receipt{}, err
	}
	return d.Send(ctx, ev)
}

// EventOf returns an Event with the payload's type and its encoding by encoding/json. All else comes from
// settings, of which there is one at most; there Type, Payload and ContentType must be empty. ErrInvalid
// says that they are not, or that the payload cannot be encoded.
func EventOf[T Typed](payload T, settings ...Event) (Event, error) {
	ev := Event{}
	if len(settings) > 1 {
		return Event{}, invalid("settings", "are %d Events; give one", len(settings))
	}
	if len(settings) == 1 {
		ev = settings[0]
	}
	if ev.Type != "" || ev.Payload != nil || ev.ContentType != "" {
		return Event{}, invalid("settings", "has Type, Payload or ContentType; they come from the %T", payload)
	}
	data, err := json.Marshal(payload)
	if err != nil {
		return Event{}, invalid("payload", "cannot be encoded as JSON: %v", err)
	}
	ev.Type, ev.Payload = payload.EventType(), data
	return ev, nil
}
