package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/id"
)

// PingType is the type of the event that PingEndpoint sends.
const PingType = "webhook.ping"

// PingEndpoint sends a small event of type PingType to one endpoint, whatever its filters, so that its
// owner sees whether it works. It is stored, signed, retried and shown like any other. ErrEndpointDisabled
// says that the endpoint is disabled; a paused one gets it when it is released.
func (d *Dispatcher) PingEndpoint(ctx context.Context, endpointID string) (Receipt, error) {
	row, err := d.store.GetEndpoint(ctx, endpointID)
	if err != nil {
		return Receipt{}, err
	}
	switch row.State {
	case EndpointDeleted:
		return Receipt{}, fmt.Errorf("%w: endpoint %s is deleted", ErrNotFound, endpointID)
	case EndpointDisabled:
		return Receipt{}, fmt.Errorf("%w: %s would hold a ping", ErrEndpointDisabled, endpointID)
	}
	payload, err := json.Marshal(ping{Type: PingType, Timestamp: d.now().UTC(), Data: pingData{EndpointID: endpointID}})
	if err != nil {
		return Receipt{}, fmt.Errorf("webhook: encode ping: %w", err)
	}
	return d.Send(ctx, Event{TenantID: row.TenantID, Type: PingType, Payload: payload, EndpointIDs: []string{endpointID}})
}

// ping has the form that Standard Webhooks recommends for payloads.
type ping struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      pingData  `json:"data"`
}

type pingData struct {
	EndpointID string `json:"endpointId"`
}

// Replay sends a stored event to endpoints that have not had it, such as those made after it was sent:
// to the endpoints named, whatever their filters, or, if none is named, to all that would get it if it
// were sent now. An endpoint that has a delivery of this event gets no second one (see Retry), so
// repeating a Replay is safe. The receipt names the event's deliveries to these endpoints; it is a
// Duplicate if Replay had nothing to add.
//
// Errors: ErrNotFound (retention took the event), ErrInvalid (an endpoint is not of the event's tenant),
// ErrConflict (the payload was erased, or ExpiresAt has passed), and those of Send.
func (d *Dispatcher) Replay(ctx context.Context, eventID string, endpointIDs ...string) (Receipt, error) {
	if len(endpointIDs) > maxTargets {
		return Receipt{}, invalid("endpointIDs", "are %d; at most %d go into one call", len(endpointIDs), maxTargets)
	}
	e, err := d.store.GetEvent(ctx, eventID)
	if err != nil {
		return Receipt{}, err
	}
	if !e.ExpiresAt.IsZero() && !e.ExpiresAt.After(d.now()) {
		return Receipt{}, fmt.Errorf("%w: event %s expired at %s", ErrConflict, eventID, e.ExpiresAt.Format(time.RFC3339))
	}
	if err := d.directory.refresh(ctx, d.store); err != nil {
		return Receipt{}, err
	}
	receipts, err := d.untilStored(ctx, d.store, func() (SendResult, error) {
		res, err := d.replayOnce(ctx, e, endpointIDs)
		if err == nil && res.Status == SendGone {
			err = fmt.Errorf("%w: event %s has no payload any more", ErrConflict, eventID)
		}
		return res, err
	})
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

func (d *Dispatcher) replayOnce(ctx context.Context, e Event, endpointIDs []string) (SendResult, error) {
	matched, generation, err := d.directory.matchAgain(e, endpointIDs)
	if err != nil {
		return SendResult{}, err
	}
	now := d.now()
	added := make([]NewDelivery, len(matched))
	for i, k := range matched {
		added[i] = NewDelivery{ID: d.newID(id.Delivery), EndpointID: k.row.ID, DueAt: latest(now, e.DeliverAt)}
	}
	return d.commitGroup(ctx, &commit{wake: true, group: &SendGroup{
		Generation: generation,
		Events:     []NewEvent{{Event: Event{ID: e.ID, TenantID: e.TenantID}, Deliveries: added, Replay: true}},
	}})
}

// matchAgain is match for an event that was sent before. Endpoints that it was restricted to may be gone
// by now.
func (r *directory) matchAgain(e Event, endpointIDs []string) ([]*known, int64, error) {
	restricted := len(e.EndpointIDs) > 0
	if len(endpointIDs) > 0 {
		e.EndpointIDs = endpointIDs
	} else if restricted {
		e.EndpointIDs = slices.DeleteFunc(slices.Clone(e.EndpointIDs), func(id string) bool { return r.get(id) == nil })
		if len(e.EndpointIDs) == 0 {
			return nil, r.current(), nil
		}
	}
	return r.match(&e)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
