package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The errors of this package, for errors.Is.
var (
	// ErrNotFound: no record with that ID (or it belongs to what was deleted).
	ErrNotFound = errors.New("webhook: not found")
	// ErrInvalid: the caller gave something that cannot be right. errors.As finds a [*FieldError].
	ErrInvalid = errors.New("webhook: invalid")
	// ErrPayloadTooLarge: the payload exceeds Config.MaxPayload. It is an ErrInvalid too.
	ErrPayloadTooLarge = errors.New("webhook: payload too large")
	// ErrConflict: the record's present state forbids it; the message says what that state is.
	ErrConflict = errors.New("webhook: conflict")
	// ErrEndpointDisabled: the endpoint is disabled; enable it first.
	ErrEndpointDisabled = errors.New("webhook: endpoint is disabled")
	// ErrRunning: Run or RunOnce is already running in this process.
	ErrRunning = errors.New("webhook: dispatcher is already running")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("webhook: store is closed")
)

// FieldError names the field that made a call [ErrInvalid].
type FieldError struct {
	Field   string // as in Go: "Endpoint.URL", "Event.Headers[X-Id]"
	Message string // what is wrong and what would be right
	kind    error
}

func (e *FieldError) Error() string { return "webhook: " + e.Field + " " + e.Message }

// Is makes every FieldError an ErrInvalid.
func (e *FieldError) Is(target error) bool {
	return target == ErrInvalid || e.kind != nil && target == e.kind
}

func invalid(field, format string, args ...any) error {
	return &FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// ItemError is how a [Store] says that a batch was refused because of what one item holds, and not
// because of the store's own state. The dispatcher then tries each item alone.
type ItemError struct{ Err error }

func (e *ItemError) Error() string { return e.Err.Error() }
func (e *ItemError) Unwrap() error { return e.Err }

// Store keeps events, deliveries, attempts and endpoints. The packages below store implement it;
// storetest.Run holds an implementation to this contract.
//
// # The delivery row
//
// One delivery, the way of one event to one endpoint, is one row, and that row is the queue. It has
// a state (pending, or final: succeeded, exhausted, gone, canceled, expired); NextAt, from when on it
// may be claimed; DueAt, what views show; LeasedBy and Lease, a counter; Attempts, the number of its
// attempt rows; Failed, the charged failures of this round; Uncharged, attempts in a row that were not
// charged; Trigger and BulkRetryID of its next attempt; and a summary of its last attempt.
//
// # Rules
//
//  1. Commit is all or nothing and durable when it returns nil. IDs are given by the caller. Repeating
//     a batch changes nothing and answers as the first time, so a caller who does not know whether a
//     commit happened may repeat it.
//  2. The store counts changes of endpoints: its generation. A [SendGroup] carries the generation that
//     its fan-out was computed from. If another is current in that very transaction, the group is not
//     stored and reported [SendStale]. So no event misses an endpoint that existed when Send was
//     called, in whatever process.
//  3. Claim returns pending deliveries that are due, longest overdue first within an endpoint, fair
//     across endpoints; none of an endpoint that is paused, disabled, deleted or excluded; of an
//     Ordered endpoint only the first pending one by ID, and none while one of it is leased. Its cost
//     grows neither with finished rows nor with the rows it skips.
//  4. Claim moves NextAt to the lease's end and raises Lease in the same step: until then no other
//     Claim, in any process, returns that delivery.
//  5. An attempt row is keyed by (delivery, lease). A Claim that meets a lease that ran out writes an
//     interrupted attempt for it, raising Attempts and Uncharged (from the eleventh in a row on, Failed
//     instead). A late outcome replaces the interrupted attempt of its own lease. An outcome takes
//     effect on the delivery if it holds the live lease and the delivery is pending, or if its attempt
//     succeeded: a success wins under whatever lease and over whatever state. Else only its attempt is
//     recorded.
//  6. A claim may be returned untried: due again when it was, trigger unchanged, nothing charged.
//  7. Held is derived: pending, and its endpoint paused or disabled. Pausing, disabling and releasing
//     write no delivery. An endpoint's CancelPending code makes Prune cancel its pending, unleased
//     deliveries in small steps.
//  8. Prune removes what is finished and older and unleased; an event goes with its last delivery.
//  9. Lists are newest first by ID and continue after the last ID seen. They carry no payload.
//  10. Stores read no clock, do not retry, do not log, and start no goroutine that outlives a call.
//     Times come as arguments and are kept in whole microseconds. Methods are safe for concurrent
//     use. What is not there is [ErrNotFound]; a store that was closed says [ErrClosed].
//
// A fault of a single item in a batch is an [*ItemError]; everything else (busy, full, I/O, lost
// connection) is the store's own error and is given to all who wait for the batch.
//
// What a store can do beyond this ([OwnerStore], [BulkStore], [ClockStore], …) is asked of its type: to wrap
// one, embed its concrete type. A struct that embeds a Store hides the rest, and then, say, the leases of a
// dead process end only with time.
type Store interface {
	QueueStore
	EndpointStore
	ViewStore
}

// QueueStore is the part of a [Store] that deliveries pass through, in batches only.
type QueueStore interface {
	// Commit stores new events with their deliveries, results of attempts, and claims handed back.
	Commit(ctx context.Context, b Batch) (Result, error)
	// Claim leases due deliveries. With Limit 0 it only looks, and then a NextDue that is not after Now
	// is exact: something is due.
	Claim(ctx context.Context, r ClaimRequest) (ClaimResult, error)
	// Requeue takes deliveries back into the queue, or out of it, at a user's wish.
	Requeue(ctx context.Context, r RequeueRequest) ([]RequeueResult, error)
	// Prune does one small step of retention.
	Prune(ctx context.Context, r PruneRequest) (PruneResult, error)
	// Erase takes away payloads and captured previews for good.
	Erase(ctx context.Context, r EraseRequest) (EraseResult, error)
}

// EndpointStore is the part of a [Store] that keeps endpoints.
type EndpointStore interface {
	// CreateEndpoint stores a row, sets its Generation to the next one and returns it.
	CreateEndpoint(ctx context.Context, row EndpointRow) (EndpointRow, error)
	// UpdateEndpoint changes a row by a closure, which may run again, raises the generation and
	// returns the new row. What the closure returns as an error is returned as it is, and nothing is
	// changed. ID, TenantID and CreatedAt stay. A deleted row is not found.
	UpdateEndpoint(ctx context.Context, id string, change func(*EndpointRow) error) (EndpointRow, error)
	// GetEndpoint returns a row; a deleted one too.
	GetEndpoint(ctx context.Context, id string) (EndpointRow, error)
	// ListEndpoints lists the rows that are not deleted, newest first.
	ListEndpoints(ctx context.Context, q EndpointQuery) ([]EndpointRow, error)
	// SyncEndpoints returns at most limit rows, deleted ones included, whose Generation is greater
	// than after, in ascending order of it, and the store's generation at that moment.
	SyncEndpoints(ctx context.Context, after int64, limit int) (rows []EndpointRow, generation int64, err error)
}

// ViewStore is the part of a [Store] that answers questions.
type ViewStore interface {
	// GetEvent returns an event with its payload.
	GetEvent(ctx context.Context, id string) (Event, error)
	// ListEvents lists events without their payloads.
	ListEvents(ctx context.Context, q EventQuery) ([]Event, error)
	// GetDelivery returns a row as of now (which tells queued from scheduled). It leaves MaxAttempts to
	// the dispatcher.
	GetDelivery(ctx context.Context, now time.Time, id string) (DeliveryListItem, error)
	// ListDeliveries returns rows as GetDelivery does, newest first.
	ListDeliveries(ctx context.Context, now time.Time, q DeliveryQuery) ([]DeliveryListItem, error)
	// ListAttempts lists attempts with everything that was captured.
	ListAttempts(ctx context.Context, q AttemptQuery) ([]DeliveryAttempt, error)
	// Stats sums up counters that Commit keeps; it does not scan deliveries. It leaves InFlight and
	// Waiting to the dispatcher.
	Stats(ctx context.Context, now time.Time, q StatsQuery) (Stats, error)
}

// OwnerStore is a [Store] that can prove that a process is dead, so that its leases need not run out.
type OwnerStore interface {
	Store
	// Owner is in whose name this process leases. It dies with the process, or when the store is closed.
	Owner() string
	// FreeLeases lets the leases of dead owners end at now, and returns how many there were.
	FreeLeases(ctx context.Context, now time.Time) (int, error)
}

// ParallelStore is a [Store] that gains from several Commits at a time: one need not wait for another. With
// any other store a Dispatcher has one under way, and meanwhile gathers the next batch.
type ParallelStore interface {
	Store
	// Commits is how many may be under way at once, 1 at least. It does not change.
	Commits() int
}

// Tx is a store bound to a transaction of the caller's, for [Dispatcher.SendTx].
type Tx interface {
	Store
	// Bound returns the store that the transaction's database belongs to.
	Bound() Store
}

// Batch is what one [QueueStore.Commit] stores, in this order.
type Batch struct {
	Now      time.Time
	Sends    []SendGroup
	Outcomes []Outcome
	Returned []Return
}

// SendGroup holds events that are stored all or none.
type SendGroup struct {
	Generation int64 // that the fan-out holds for; of a group of mere repetitions it may be any
	Events     []NewEvent
}

// NewEvent is an event on its way into the store, with its fan-out.
type NewEvent struct {
	Event Event
	// Fingerprint tells whether two events of one IdempotencyKey are the same; nil without a key.
	Fingerprint []byte
	Deliveries  []NewDelivery
	// Replay: the event is stored already, of Event only the ID counts, and the deliveries are added to
	// it, except to endpoints that have one of this event. The receipt names the event's deliveries to
	// these endpoints, old or new, and is a duplicate if none has an ID given here. CreatedAt of what is
	// added is Batch.Now. A replay stands alone in its group.
	Replay bool
}

// NewDelivery is a delivery on its way into the store.
type NewDelivery struct {
	ID, EndpointID string
	DueAt          time.Time
	// LeasedBy hands the delivery over to its sender: it goes in with lease 1 until LeaseUntil.
	// Empty: it goes in free, claimable from DueAt.
	LeasedBy   string
	LeaseUntil time.Time
}

// Outcome is what became of a claim.
type Outcome struct {
	DeliveryID string
	Lease      int64
	// Attempt is nil where no request was meant (a wait for a rate limit, an expiry).
	Attempt *DeliveryAttempt
	// State is StateScheduled (pending, claimable from NextAt) or a final one.
	State     DeliveryState
	NextAt    time.Time
	Failed    int // as it is to be stored
	Uncharged int
	Deferrals int
	// FailureCode says why a delivery ended without success.
	FailureCode ErrorCode
}

// Return hands a claim back untried.
type Return struct {
	DeliveryID string
	Lease      int64
}

// Result answers a [Batch], item by item.
type Result struct {
	Generation int64
	Sends      []SendResult
	Outcomes   []OutcomeResult
}

// SendStatus says what became of a [SendGroup].
type SendStatus uint8

const (
	SendStored   SendStatus = iota // stored, now or by an earlier try of this same batch
	SendStale                      // not stored: the generation moved on; match again
	SendConflict                   // not stored: an idempotency key stands for another event
	SendTaken                      // not stored: the store cannot keep one of the IDs; give others
	SendGone                       // not stored: the event to be replayed is not there, or erased
	SendBusy                       // not stored: an open transaction is about to take an idempotency key; try again
)

// SendResult answers a [SendGroup]. Receipts has one entry for each event if it was stored; the
// receipt of a duplicate names the first event and its deliveries. ConflictAt is the index of the
// event that conflicts.
type SendResult struct {
	Status     SendStatus
	Receipts   []Receipt
	ConflictAt int
}

// OutcomeResult answers an [Outcome].
type OutcomeResult struct {
	// Applied: the outcome took effect on the delivery.
	Applied bool
	// Taken: nothing was stored, since the store cannot keep the attempt's ID; give it another.
	Taken bool
	// Health is the endpoint's after this batch.
	Health EndpointHealth
}

// ClaimRequest asks for due deliveries.
type ClaimRequest struct {
	Now, LeaseUntil time.Time
	Limit           int            // at most so many in all; 0: only look
	PerEndpoint     int            // at most so many of one endpoint
	Caps            map[string]int // other limits for single endpoints, by ID
	Exclude         []string       // endpoint IDs
	// Early are endpoints whose retries may be claimed ahead of their time, and how many of each, on top
	// of what is due and within PerEndpoint, Caps and Limit: pending, free, NextAt not come yet, Trigger
	// automatic; the soonest first. A store need not look at more than a hundred free rows of each. Of an
	// Ordered endpoint it is still the first pending one only. The claim's DueAt stays as it was.
	Early        map[string]int
	Owner        string        // who claims; never empty when Limit > 0
	NewAttemptID func() string // for the interrupted attempts that Claim records
}

// ClaimResult answers a [ClaimRequest].
type ClaimResult struct {
	Claims []Claim
	// Interrupted are the attempts recorded for leases that ran out.
	Interrupted []DeliveryAttempt
	// NextDue is the earliest NextAt among deliveries that Claim might return but did not, of
	// endpoints that were not excluded or capped. It may be earlier than that, never later; zero:
	// there is none. A time that is not after Now means there is more to claim at once.
	NextDue time.Time
	// Backlog are the endpoints that have due deliveries left, as far as this call looked.
	Backlog    []string
	Generation int64
}

// Claim is a delivery leased to the claimer.
type Claim struct {
	DeliveryID, EndpointID string
	Event                  Event // with its payload; ErasedAt is set if that is gone
	Lease                  int64
	LeaseUntil             time.Time
	AttemptNumber          int // of the attempt to be made
	Failed, Uncharged      int
	Deferrals              int
	Trigger                Trigger
	BulkRetryID            string
	DueAt                  time.Time
	CreatedAt              time.Time
}

// RequeueAction is what a [RequeueRequest] does.
type RequeueAction uint8

const (
	// RequeueRetry makes a delivery due now. A finished one begins a new round: Failed is 0.
	RequeueRetry RequeueAction = iota
	// RequeueCancel ends a pending delivery. A request under way may still succeed, and then wins.
	RequeueCancel
)

// RequeueRequest acts on the deliveries named.
type RequeueRequest struct {
	Now         time.Time
	IDs         []string
	Action      RequeueAction
	Trigger     Trigger   // of the next attempt
	BulkRetryID string    // of the next attempt, or ""; RequeueCancel: only if the next attempt is its
	Code        ErrorCode // why it is canceled
}

// RequeueResult answers for one ID.
type RequeueResult uint8

const (
	RequeueDone     RequeueResult = iota // as asked
	RequeueNotFound                      // no such delivery
	RequeueLeased                        // an attempt is under way
	RequeueErased                        // its payload is gone
	RequeueDeleted                       // its endpoint is gone
	RequeueFinished                      // to be canceled, but already final, or no longer the bulk retry's
)

// PruneRequest is one step of retention. Zero times mean: not that.
type PruneRequest struct {
	Now            time.Time
	DetailBefore   time.Time // headers and previews of attempts that completed before
	FinishedBefore time.Time // deliveries finished, and events without deliveries made, before
	// Cursor is where the last step stopped; empty starts anew. A round that returns an empty Cursor
	// has seen everything.
	Cursor string
	Limit  int // rows looked at, about
}

// PruneResult counts what a step did.
type PruneResult struct {
	Details, Deliveries, Attempts, Events, Canceled, Expired int
	Cursor                                                   string
}

// EraseRequest names one event, or a tenant with all it has.
type EraseRequest struct {
	Now     time.Time
	EventID string
	// TenantID is used if EventID is empty. All rows of that tenant go, endpoints included.
	TenantID string
	Limit    int
}

// EraseResult answers an [EraseRequest]. While More, call again.
type EraseResult struct {
	Canceled []string // deliveries that were pending
	More     bool
}

// EndpointRow is an endpoint as stores keep it.
type EndpointRow struct {
	ID, TenantID   string
	State          EndpointState // EndpointDeleted too
	DisabledReason string
	URL            string // for the record of interrupted attempts
	Ordered        bool
	Config         []byte // all the rest, in the dispatcher's encoding, secrets sealed
	// CancelPending is the code with which Prune cancels pending deliveries; "" none.
	CancelPending ErrorCode
	// ReleasedAt is when it last became enabled: what was due then was held.
	ReleasedAt           time.Time
	Health               EndpointHealth
	CreatedAt, UpdatedAt time.Time
	Generation           int64
}

// Deleted reports whether the row is kept for history only.
func (r EndpointRow) Deleted() bool { return r.State == EndpointDeleted }

// EndpointHealth is what the last attempts say of an endpoint. In a store it is kept by Commit;
// UpdateEndpoint may change it; that Commit does does not raise the generation.
type EndpointHealth struct {
	FailingSince  time.Time // StartedAt of the first failure since the last success; zero: none
	Failures      int64     // failed attempts since then
	Exhausted     int64     // deliveries exhausted since then
	LastSuccessAt time.Time // to the minute
	LastFailureAt time.Time
}
