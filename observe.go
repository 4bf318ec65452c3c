package webhook

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// Observer is told what happens to deliveries and endpoints, for metrics and alarms. Calls come from
// the goroutines that deliver: be quick. It must be safe for concurrent use, must not call the
// dispatcher, and must not change what a Notice points to. Packages otelwebhook and promwebhook have
// Observers; [Observers] joins several.
type Observer interface {
	Observe(ctx context.Context, n Notice)
}

// SendObserver is an [Observer] that is also told of every call of Send, SendBatch and SendTx, in the
// caller's goroutine, before anything is done. It may set TraceContext where that is empty; the slice is
// its own copy. The call goes on with the context it returns. Unless nil, ended is told the outcome: of
// SendTx before its transaction is committed or rolled back.
type SendObserver interface {
	Observer
	ObserveSend(ctx context.Context, events []Event) (_ context.Context, ended func(receipts []Receipt, err error))
}

// NoticeKind says what a Notice is about.
type NoticeKind string

const (
	// NoticeSent means: an event is stored, by Send or SendBatch, which returns afterwards. Event, Receipt.
	// What SendTx stores is not told of, since only the caller knows whether the transaction was committed.
	NoticeSent NoticeKind = "event.sent"
	// NoticeAttempt means: an attempt is stored. Event, Delivery, Attempt, Endpoint, DueAt.
	NoticeAttempt NoticeKind = "attempt.completed"
	// NoticeInterrupted means: a claim met the lease of an attempt that was cut off. Attempt.
	NoticeInterrupted NoticeKind = "attempt.recovered"
	// NoticeExhausted means: the retry policy gave a delivery up. Event, Delivery, Endpoint and, unless
	// interruptions used up the round, Attempt.
	NoticeExhausted NoticeKind = "delivery.exhausted"
	// NoticeExpired means: ExpiresAt had passed when it was a delivery's turn. Event, Delivery, Endpoint.
	// What expires while it waits for a retry, or is held, only Stats tells.
	NoticeExpired NoticeKind = "delivery.expired"
	// NoticeEndpointFailing means: 10 attempts in a row failed. Event, Delivery, Attempt, Endpoint, Health. Each
	// process that meets the failures tells once, until it meets a success.
	NoticeEndpointFailing NoticeKind = "endpoint.failing"
	// NoticeEndpointRecover means: one that was failing succeeded. As NoticeEndpointFailing.
	NoticeEndpointRecover NoticeKind = "endpoint.recovered"
	// NoticeEndpointDisabled means: one was disabled, by a 410, after long failure, or by DisableEndpoint. Endpoint; its
	// DisabledReason says which. Only the process that did it tells.
	NoticeEndpointDisabled NoticeKind = "endpoint.disabled"
	// NoticeStoreFailing means: the store fails, and deliveries wait. Err.
	NoticeStoreFailing NoticeKind = "store.failing"
	// NoticeStoreRecovered means: the store works again.
	NoticeStoreRecovered NoticeKind = "store.recovered"
)

// Notice is one thing that happened. Fields that do not belong to its kind are nil.
type Notice struct {
	Kind     NoticeKind
	Event    *Event // without payload
	Receipt  *Receipt
	Delivery *DeliveryListItem // as far as the sender knows it: no counts of others' making
	Attempt  *DeliveryAttempt
	Endpoint *Endpoint
	Health   *EndpointHealth
	// DueAt is since when the attempt was due: StartedAt of Attempt less DueAt is how late it was, and
	// less than zero for one made ahead of its time, to see whether a failing endpoint works again.
	DueAt time.Time
	Err   error
}

// Observers tells each of the list, in its order. Nil entries are left out.
func Observers(list ...Observer) Observer {
	all := make(observers, 0, len(list))
	for _, o := range list {
		if o != nil {
			all = append(all, o)
		}
	}
	return all
}

type observers []Observer

func (all observers) Observe(ctx context.Context, n Notice) {
	for _, o := range all {
		o.Observe(ctx, n)
	}
}

// ObserveSend asks those who want to be told. The calls nest: the last that began ends first.
func (all observers) ObserveSend(ctx context.Context, events []Event) (context.Context, func([]Receipt, error)) {
	var ends []func([]Receipt, error)
	for _, o := range all {
		if s, ok := o.(SendObserver); ok {
			inner, ended := s.ObserveSend(ctx, events)
			ctx = inner
			if ended != nil {
				ends = append(ends, ended)
			}
		}
	}
	return ctx, func(receipts []Receipt, err error) {
		for _, ended := range slices.Backward(ends) {
			ended(receipts, err)
		}
	}
}

// failingAfter is how many failures in a row make an endpoint worth a notice.
const failingAfter = 10

// observe tells the Observer, whose panics are its own, and those who asked for operational events.
func (d *Dispatcher) observe(n Notice) {
	d.tell(n)
	if d.cfg.Observer == nil {
		return
	}
	defer d.surviveObserver(string(n.Kind))
	d.cfg.Observer.Observe(context.Background(), n)
}

func (d *Dispatcher) surviveObserver(notice string) {
	if v := recover(); v != nil {
		d.log.Error("webhook: panic in Observer", "notice", notice, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
}

// observeSend tells a SendObserver that a call begins. The events it returns are to be sent in place of
// those given; ended is never nil.
func (d *Dispatcher) observeSend(ctx context.Context, events []Event) (_ context.Context, _ []Event, ended func([]Receipt, error)) {
	o, ok := d.cfg.Observer.(SendObserver)
	if !ok {
		return ctx, events, func([]Receipt, error) {}
	}
	own := slices.Clone(events)
	inner, told := ctx, (func([]Receipt, error))(nil)
	func() {
		defer d.surviveObserver("send begins")
		inner, told = o.ObserveSend(ctx, own)
	}()
	if inner == nil {
		inner = ctx
	}
	return inner, own, func(receipts []Receipt, err error) {
		defer d.surviveObserver("send ended")
		if told != nil {
			told(receipts, err)
		}
	}
}

// reportResult tells what became of a job.
func (d *Dispatcher) reportResult(r *result, res OutcomeResult) {
	if d.cfg.Observer == nil && d.cfg.Operational == nil {
		return
	}
	event := r.claim.Event
	event.Payload = nil
	n := Notice{Kind: NoticeAttempt, Event: &event, Attempt: r.outcome.Attempt, Delivery: r.delivery(),
		Endpoint: &r.endpoint.endpoint, DueAt: r.claim.DueAt}
	if n.Attempt != nil {
		d.observe(n)
	}
	n.DueAt = time.Time{}
	switch {
	case !res.Applied:
	case r.outcome.State == StateExhausted:
		n.Kind = NoticeExhausted
		d.observe(n)
	case r.outcome.State == StateExpired:
		n.Kind = NoticeExpired
		d.observe(n)
	}
	d.reportHealth(r, res.Health, n)
}

func (d *Dispatcher) reportHealth(r *result, health EndpointHealth, n Notice) {
	id := r.claim.EndpointID
	if health.Failures >= failingAfter {
		if _, known := d.failing.LoadOrStore(id, true); !known {
			n.Kind, n.Health = NoticeEndpointFailing, &health
			d.observe(n)
		}
	} else if r.outcome.State == StateSucceeded {
		if _, known := d.failing.LoadAndDelete(id); known {
			n.Kind, n.Health = NoticeEndpointRecover, &health
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
