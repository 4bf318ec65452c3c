package webhook

import (
	"context"
	"time"
)

// BulkStore is what a [Store] has beyond the contract to keep bulk retries. Without it
// [Dispatcher.BulkRetry] can only count. The rules of Store hold: no clock, no goroutines, whole
// microseconds, ErrNotFound, ErrClosed.
//
// Erase removes a tenant's rows with the rest, save those with AllTenants. Prune removes rows that are
// done or canceled and were last updated before FinishedBefore.
type BulkStore interface {
	// CreateBulkRetry stores a new row. ErrConflict: there is one with that ID.
	CreateBulkRetry(ctx context.Context, row BulkRetryRow) error
	// UpdateBulkRetry changes a row by a closure, which may run again, in one transaction, and returns
	// the new row. What the closure returns as an error is returned as it is, and nothing is changed. ID,
	// TenantID, AllTenants and CreatedAt stay.
	UpdateBulkRetry(ctx context.Context, id string, change func(*BulkRetryRow) error) (BulkRetryRow, error)
	// GetBulkRetry returns a row.
	GetBulkRetry(ctx context.Context, id string) (BulkRetryRow, error)
	// ListBulkRetries lists rows, newest first. A tenant's list has no rows with AllTenants.
	ListBulkRetries(ctx context.Context, q BulkRetryQuery) ([]BulkRetryRow, error)
}

// BulkRetryRow is a bulk retry as stores keep it.
type BulkRetryRow struct {
	ID         string // br_…
	TenantID   string
	AllTenants bool // of no tenant in particular
	State      BulkRetryState
	// LeasedBy leads it until LeaseUntil; empty: nobody does.
	LeasedBy   string
	LeaseUntil time.Time
	// Progress is all the rest, in the dispatcher's encoding.
	Progress             []byte
	CreatedAt, UpdatedAt time.Time
}

// BulkRetryQuery selects bulk retries, newest first.
type BulkRetryQuery struct {
	TenantID   string
	AllTenants bool // those of every tenant, and of none in particular
	States     []BulkRetryState
	After      string
	Limit      int // 50; at most 500
}
