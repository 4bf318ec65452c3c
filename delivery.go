package webhook

import (
	"time"
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
	StateSucceeded DeliveryState = "succeeded"
	StateExhausted DeliveryState = "exhausted" // the retry policy gave up
	StateGone      DeliveryState = "gone"      // the receiver answered 410
	StateCanceled  DeliveryState = "canceled"
	StateExpired   DeliveryState = "expired" // ExpiresAt passed while pending
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
	TenantID      string
	AllTenants    bool
	EndpointID    string
	EventID       string
	EventType     string
	Status        DeliveryStatus
	States        []DeliveryState
	ErrorCode     ErrorCode // of the last attempt, or why it ended
	ResponseClass int       // 2 for 2xx … 5 for 5xx: of the last attempt
	Since, Until  time.Time // created at or after, before
	FinishedSince time.Time // final, since then
	Attributes    map[string]string
	After         string // the last ID of the page before
	Limit         int    // 50; at most 500
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
