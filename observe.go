package webhook

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Observer is told what happens to deliveries and endpoints, for metrics and alarms. Calls come from
// the goroutines that deliver: be quick. It must be safe for concurrent use.
type Observer interface {
	Observe(ctx context.Context, n Notice)
}

// NoticeKind says what a Notice is about.
type NoticeKind string

const (
	NoticeSent             NoticeKind = "event.sent"         // Event, Receipt
	NoticeAttempt          NoticeKind = "attempt.completed"  // Delivery, Attempt, Endpoint
	NoticeInterrupted      NoticeKind = "attempt.recovered"  // Attempt: found by a later claim
	NoticeExhausted        NoticeKind = "delivery.exhausted" // Delivery, Attempt, Endpoint
	NoticeEndpointFailing  NoticeKind = "endpoint.failing"
	NoticeEndpointRecover  NoticeKind = "endpoint.recovered"
	NoticeEndpointDisabled NoticeKind = "endpoint.disabled"
	NoticeStoreFailing     NoticeKind = "store.failing" // Err
	NoticeStoreRecovered   NoticeKind = "store.recovered"
)

// Notice is one thing that happened. Fields that do not belong to its kind are nil.
type Notice struct {
	Kind     NoticeKind
	Event    *Event // without payload
	Receipt  *Receipt
	Delivery *DeliveryListItem // as far as the sender knows it: no counts of others' making
	Attempt  *DeliveryAttempt
	Endpoint *Endpoint
	Err      error
}

// failingAfter is how many failures in a row make an endpoint worth a notice.
const failingAfter = 10

// observe tells the Observer, whose panics are its own.
func (d *Dispatcher) observe(n Notice) {
	if d.cfg.Observer == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			d.log.Error("webhook: panic in Observer", "notice", string(n.Kind), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	d.cfg.Observer.Observe(context.Background(), n)
}

// reportResult tells what became of a job.
func (d *Dispatcher) reportResult(r *result, res OutcomeResult) {
	if d.cfg.Observer == nil {
		return
	}
	n := Notice{Kind: NoticeAttempt, Attempt: r.outcome.Attempt, Delivery: r.delivery(), Endpoint: &r.endpoint.endpoint}
	if n.Attempt != nil {
		d.observe(n)
	}
	if r.outcome.State == StateExhausted && res.Applied {
		n.Kind = NoticeExhausted
		d.observe(n)
	}
	d.reportHealth(r, res.Health, n)
}

func (d *Dispatcher) reportHealth(r *result, health EndpointHealth, n Notice) {
	id := r.claim.EndpointID
	if health.Failures >= failingAfter {
		if _, known := d.failing.LoadOrStore(id, true); !known {
			n.Kind = NoticeEndpointFailing
			d.observe(n)
		}
	} else if r.outcome.State == StateSucceeded {
		if _, known := d.failing.LoadAndDelete(id); known {
			n.Kind = NoticeEndpointRecover
			d.observe(n)
		}
	}
}

// delivery is what the sender knows of the row.
func (r *result) delivery() *DeliveryListItem {
	o, c := &r.outcome, &r.claim
	item := &DeliveryListItem{
		ID: c.DeliveryID, TenantID: c.Event.TenantID, EventID: c.Event.ID, EventType: c.Event.Type,
		EndpointID: c.EndpointID, Status: o.State.Status(), State: o.State, AttemptCount: c.AttemptNumber,
		DeferralCount: o.Deferrals, FailureCode: o.FailureCode, CreatedAt: c.CreatedAt,
		ExpiresAt: timeOrNull(c.Event.ExpiresAt), Attributes: c.Event.Attributes,
	}
	if o.State == StateScheduled {
		item.NextRetryAt, item.DueAt = timeOrNull(o.NextAt), timeOrNull(o.NextAt)
	}
	if a := o.Attempt; a != nil {
		item.LastErrorCode, item.UpdatedAt = a.ErrorCode, a.CompletedAt
		item.LastAttempt = &LastAttempt{AttemptedAt: a.StartedAt, ResponseStatus: a.StatusCode}
		if a.StatusCode == nil {
			item.LastAttempt.ErrorMessage = &a.Error
		}
	}
	return item
}

// failedLongEnough reports health that Config.DisableAfter speaks of.
func (d *Dispatcher) failedLongEnough(h EndpointHealth) bool {
	return d.cfg.DisableAfter >= 0 && !h.FailingSince.IsZero() &&
		h.LastFailureAt.Sub(h.FailingSince) >= d.cfg.DisableAfter && h.Exhausted >= int64(d.cfg.DisableExhausted)
}

// disableFailing disables an endpoint if the store's row, too, says that it failed long enough.
func (d *Dispatcher) disableFailing(endpointID string) {
	d.disableInBackground(endpointID, func(row EndpointRow) (string, bool) {
		return fmt.Sprintf("nothing but failures since %s", row.Health.FailingSince.Format(time.RFC3339)),
			d.failedLongEnough(row.Health)
	})
}

// disableGone takes a receiver at its word.
func (d *Dispatcher) disableGone(endpointID string) {
	d.disableInBackground(endpointID, func(EndpointRow) (string, bool) { return "the receiver answered 410 Gone", true })
}

func (d *Dispatcher) disableInBackground(endpointID string, reason func(EndpointRow) (string, bool)) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if err := d.disable(ctx, endpointID, reason); err != nil && !errors.Is(err, ErrNotFound) {
		d.log.Error("webhook: cannot disable endpoint; its next failure tries again", "endpoint", endpointID, "error", err)
	}
}

// Warning is something that an operator should know about the set-up.
type Warning struct {
	Code    string // short and stable, such as "no_root_certificates"
	Message string // what is wrong and what to do
}

// Check looks at the set-up: the store's settings and versions, and the machine's root certificates.
// Run logs what it says. Warnings are not errors; an error means that the store could not be asked.
func (d *Dispatcher) Check(ctx context.Context) ([]Warning, error) {
	var warnings []Warning
	if c, ok := d.cfg.HTTPClient.(*Client); ok {
		if text := c.rootStoreWarning(); text != "" {
			warnings = append(warnings, Warning{Code: "no_root_certificates", Message: text})
		}
	}
	checker, ok := d.store.(interface {
		Check(ctx context.Context) ([]Warning, error)
	})
	if !ok {
		return warnings, nil
	}
	more, err := checker.Check(ctx)
	return append(warnings, more...), err
}

func (d *Dispatcher) logWarnings(ctx context.Context) {
	warnings, err := d.Check(ctx)
	if err != nil && ctx.Err() == nil {
		d.log.Warn("webhook: the store's settings cannot be checked", "error", err)
	}
	for _, w := range warnings {
		d.log.Warn("webhook: "+w.Message, "code", w.Code)
	}
}
