package webhook

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/id"
)

// DeliveryStatus is the coarse state that a customer sees.
type DeliveryStatus string

const (
	StatusPending DeliveryStatus = "pending" // queued or in flight
	StatusSuccess DeliveryStatus = "success" // a 2xx response was received
	StatusFailed  DeliveryStatus = "failed"  // ended without one
)

// DeliveryState is the operator's word for where a delivery stands.
type DeliveryState string

const (
	StateQueued    DeliveryState = "queued"    // due, waiting for its turn
	StateScheduled DeliveryState = "scheduled" // due later
	StateSending   DeliveryState = "sending"   // leased: an attempt is under way or about to be
	StateHeld      DeliveryState = "held"      // its endpoint is paused or disabled
	StateSucceeded DeliveryState = "succeeded" // a 2xx response was received
	StateExhausted DeliveryState = "exhausted" // the retry policy gave up
	StateGone      DeliveryState = "gone"      // the receiver answered 410
	StateCanceled  DeliveryState = "canceled"  // by Cancel, or with its endpoint: see FailureCode
	StateExpired   DeliveryState = "expired"   // ExpiresAt passed while pending
)

// Final reports whether no further attempt follows by itself.
func (s DeliveryState) Final() bool { return s.Status() != StatusPending }

// Status returns the coarse state of s.
func (s DeliveryState) Status() DeliveryStatus {
	switch s {
	case StateSucceeded:
		return StatusSuccess
	case StateExhausted, StateGone, StateCanceled, StateExpired:
		return StatusFailed
	}
	return StatusPending
}

// DeliveryListItem is a delivery as lists show it: the way of one event to one endpoint.
type DeliveryListItem struct {
	ID         string         `json:"id"` // wd_…
	TenantID   string         `json:"tenantId"`
	EventID    string         `json:"eventId"`
	EventType  string         `json:"eventType"`
	EndpointID string         `json:"webhookEndpointId"`
	Status     DeliveryStatus `json:"status"`
	State      DeliveryState  `json:"state"`
	// AttemptCount is the number of attempt rows, over all rounds.
	AttemptCount int `json:"attemptCount"`
	// MaxAttempts is the number of charged attempts a round may take; nil where the policy has none.
	MaxAttempts *int `json:"maxAttempts"`
	// DeferralCount counts waits without a request, as for a rate limit.
	DeferralCount int `json:"deferralCount"`
	// LastAttempt is nil before the first attempt.
	LastAttempt   *LastAttempt `json:"lastAttempt"`
	LastErrorCode ErrorCode    `json:"lastErrorCode,omitempty"`
	// NextRetryAt is the due time, only while pending after a failed attempt and not held.
	NextRetryAt *time.Time `json:"nextRetryAt"`
	// DueAt is when it was or will be due, while pending.
	DueAt      *time.Time `json:"dueAt"`
	HoldReason string     `json:"holdReason,omitempty"`
	// FailureCode says why it ended without success.
	FailureCode ErrorCode         `json:"failureCode,omitempty"`
	ExpiresAt   *time.Time        `json:"expiresAt"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"` // moves on every attempt and transition
	Attributes  map[string]string `json:"attributes"`
}

// LastAttempt summarises the latest attempt. Exactly one of ResponseStatus and ErrorMessage is set.
type LastAttempt struct {
	AttemptedAt    time.Time `json:"attemptedAt"`
	ResponseStatus *int      `json:"responseStatus,omitempty"`
	ErrorMessage   *string   `json:"errorMessage,omitempty"`
}

// Delivery is a delivery with all there is to know of it.
type Delivery struct {
	DeliveryListItem
	Event    Event             `json:"event"`    // with its payload, unless that was erased
	Attempts []DeliveryAttempt `json:"attempts"` // in the order of AttemptNumber
}

// DeliveryQuery selects deliveries, newest first. Filters combine. An empty TenantID is the tenant "";
// only AllTenants looks across tenants.
type DeliveryQuery struct {
	TenantID      string            `json:"tenantId"`
	AllTenants    bool              `json:"allTenants,omitempty"`
	EndpointID    string            `json:"endpointId,omitempty"`
	EventID       string            `json:"eventId,omitempty"`
	EventType     string            `json:"eventType,omitempty"`
	Status        DeliveryStatus    `json:"status,omitempty"`
	States        []DeliveryState   `json:"states,omitempty"`
	ErrorCode     ErrorCode         `json:"errorCode,omitempty"`     // of the last attempt, or why it ended
	ResponseClass int               `json:"responseClass,omitempty"` // 2 for 2xx … 5 for 5xx: of the last attempt
	Since         time.Time         `json:"since,omitzero"`          // created at or after
	Until         time.Time         `json:"until,omitzero"`          // created before
	FinishedSince time.Time         `json:"finishedSince,omitzero"`  // final, since then
	Attributes    map[string]string `json:"attributes,omitempty"`
	After         string            `json:"after,omitempty"` // the last ID of the page before
	Limit         int               `json:"limit,omitempty"` // 50; at most 500
}

// AttemptQuery selects attempts, newest first.
type AttemptQuery struct {
	TenantID     string
	AllTenants   bool
	EndpointID   string
	EventID      string
	DeliveryID   string
	Status       AttemptStatus
	ErrorCode    ErrorCode
	Since, Until time.Time // started at or after, before
	After        string
	Limit        int // 50; at most 500
}

// EventQuery selects events, newest first.
type EventQuery struct {
	TenantID     string
	AllTenants   bool
	Type         string
	Since, Until time.Time
	After        string
	Limit        int // 50; at most 500
}

// StatsQuery selects what Stats sums up.
type StatsQuery struct {
	TenantID   string
	AllTenants bool
	EndpointID string
	// Since and Until bound Hours; zero: the last 24 hours.
	Since, Until time.Time
}

// Stats are counts of deliveries. They come from counters kept with every commit: polling is cheap.
type Stats struct {
	Pending   int64 `json:"pending"` // all that are not final, held ones too
	Held      int64 `json:"held"`
	Succeeded int64 `json:"succeeded"`
	Exhausted int64 `json:"exhausted"`
	Gone      int64 `json:"gone"`
	Canceled  int64 `json:"canceled"`
	Expired   int64 `json:"expired"`
	// OldestDueAt is the due time of the delivery that waits longest for its turn; nil: none is due.
	OldestDueAt *time.Time `json:"oldestDueAt"`
	// InFlight and Waiting are this process's: attempts under way, and deliveries in memory.
	InFlight int `json:"inFlight"`
	Waiting  int `json:"waiting"`
	// Hours are attempts by the hour they completed in, oldest first; hours without any are left out.
	Hours []HourStats `json:"hours"`
}

// LatencyBounds are the upper bounds of HourStats.Latency in milliseconds; a last bucket holds the rest.
var LatencyBounds = [11]int64{5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000}

// HourStats counts the attempts of one hour.
type HourStats struct {
	Start     time.Time `json:"start"`
	Succeeded int64     `json:"succeeded"`
	Failed    int64     `json:"failed"` // failed and canceled; interrupted ones are not counted
	// Latency counts attempts that got a response by DurationMS, by bucket of LatencyBounds.
	Latency [12]int64 `json:"latency"`
}

// ListDeliveries lists deliveries, newest first. The next page continues After the last ID of this one.
func (d *Dispatcher) ListDeliveries(ctx context.Context, q DeliveryQuery) ([]DeliveryListItem, error) {
	if err := validatePage(id.Delivery, q.After, &q.Limit); err != nil {
		return nil, err
	}
	items, err := d.store.ListDeliveries(ctx, d.now(), q)
	for i := range items {
		d.completeItem(ctx, &items[i])
	}
	return items, err
}

// Deliveries goes through all deliveries of a query, newest first, a page of q.Limit at a time. It ends
// after the first error, which comes with a zero item.
func (d *Dispatcher) Deliveries(ctx context.Context, q DeliveryQuery) iter.Seq2[DeliveryListItem, error] {
	return func(yield func(DeliveryListItem, error) bool) {
		for {
			page, err := d.ListDeliveries(ctx, q)
			if err != nil {
				yield(DeliveryListItem{}, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
				q.After = item.ID
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// GetDelivery returns a delivery with its event, payload and all attempts, or ErrNotFound.
func (d *Dispatcher) GetDelivery(ctx context.Context, deliveryID string) (Delivery, error) {
	item, err := d.store.GetDelivery(ctx, d.now(), deliveryID)
	if err != nil {
		return Delivery{}, err
	}
	d.completeItem(ctx, &item)
	full := Delivery{DeliveryListItem: item}
	if full.Event, err = d.store.GetEvent(ctx, item.EventID); err != nil {
		return Delivery{}, fmt.Errorf("webhook: event of delivery %s: %w", deliveryID, err)
	}
	q := AttemptQuery{AllTenants: true, DeliveryID: deliveryID, Limit: 500}
	for {
		page, err := d.store.ListAttempts(ctx, q)
		if err != nil {
			return Delivery{}, err
		}
		full.Attempts = append(full.Attempts, page...)
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1].ID
	}
	slices.SortStableFunc(full.Attempts, func(a, b DeliveryAttempt) int { return a.AttemptNumber - b.AttemptNumber })
	full.AttemptCount = max(full.AttemptCount, len(full.Attempts)) // one may have ended between the reads
	return full, nil
}

// completeItem fills in what the endpoint's retry policy says. Without the endpoint it is unknown.
func (d *Dispatcher) completeItem(ctx context.Context, item *DeliveryListItem) {
	k, _ := d.directory.find(ctx, item.EndpointID)
	if k == nil {
		return
	}
	if n := maxAttempts(d.retryPolicy(&k.endpoint)); n > 0 {
		item.MaxAttempts = &n
	}
}

// ListAttempts lists attempts, newest first. The next page continues After the last ID of this one.
func (d *Dispatcher) ListAttempts(ctx context.Context, q AttemptQuery) ([]DeliveryAttempt, error) {
	if err := validatePage(id.Attempt, q.After, &q.Limit); err != nil {
		return nil, err
	}
	return d.store.ListAttempts(ctx, q)
}

// GetEvent returns an event with its payload, or ErrNotFound.
func (d *Dispatcher) GetEvent(ctx context.Context, eventID string) (Event, error) {
	return d.store.GetEvent(ctx, eventID)
}

// ListEvents lists events without their payloads, newest first.
func (d *Dispatcher) ListEvents(ctx context.Context, q EventQuery) ([]Event, error) {
	if err := validatePage(id.Event, q.After, &q.Limit); err != nil {
		return nil, err
	}
	return d.store.ListEvents(ctx, q)
}

// Stats sums up deliveries by state and attempts by hour. It reads counters; polling it is cheap.
func (d *Dispatcher) Stats(ctx context.Context, q StatsQuery) (Stats, error) {
	now := d.now()
	if q.Until.IsZero() {
		q.Until = now.Add(time.Hour)
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-25 * time.Hour).Truncate(time.Hour)
	}
	stats, err := d.store.Stats(ctx, now, q)
	if err != nil {
		return Stats{}, err
	}
	if r := d.current.Load(); r != nil {
		stats.Waiting, stats.InFlight = r.queue.load()
	}
	return stats, nil
}

// Retry makes a delivery due now. A finished one, also a successful one, begins a new round with the
// same event ID: charged failures are forgotten, attempt numbers go on. ErrConflict says that an attempt
// is under way, that the payload was erased, or that the endpoint was deleted.
func (d *Dispatcher) Retry(ctx context.Context, deliveryID string) error {
	return d.requeue(ctx, deliveryID, RequeueRequest{Action: RequeueRetry, Trigger: TriggerManual})
}

// Cancel ends a pending delivery, with code CANCELLED. A request that is under way may still succeed,
// and then the delivery has succeeded. ErrConflict: it is final already.
func (d *Dispatcher) Cancel(ctx context.Context, deliveryID string) error {
	return d.requeue(ctx, deliveryID, RequeueRequest{Action: RequeueCancel, Code: CodeCancelled})
}

func (d *Dispatcher) requeue(ctx context.Context, deliveryID string, req RequeueRequest) error {
	req.Now, req.IDs = d.now(), []string{deliveryID}
	res, err := d.store.Requeue(ctx, req)
	if err != nil {
		return err
	}
	d.Wake()
	return res[0].err(deliveryID)
}

func (r RequeueResult) err(deliveryID string) error {
	switch r {
	case RequeueDone:
		return nil
	case RequeueNotFound:
		return fmt.Errorf("%w: delivery %s", ErrNotFound, deliveryID)
	case RequeueLeased:
		return fmt.Errorf("%w: an attempt of delivery %s is under way; wait for its result", ErrConflict, deliveryID)
	case RequeueErased:
		return fmt.Errorf("%w: the payload of delivery %s was erased", ErrConflict, deliveryID)
	case RequeueDeleted:
		return fmt.Errorf("%w: the endpoint of delivery %s was deleted", ErrConflict, deliveryID)
	case RequeueFinished:
		return fmt.Errorf("%w: delivery %s is final already", ErrConflict, deliveryID)
	}
	return fmt.Errorf("webhook: the store answered %d for delivery %s", r, deliveryID)
}
