package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/outhook/webhook/internal/id"
)

// BulkRetryState says where a bulk retry stands.
type BulkRetryState string

const (
	BulkRetryRunning BulkRetryState = "running" // it has not been through all that matched
	// BulkRetryCanceling means: it retries no more, and ends what it had retried and is not attempted yet.
	BulkRetryCanceling BulkRetryState = "canceling"
	BulkRetryDone      BulkRetryState = "done"     // all that matched are due again
	BulkRetryCanceled  BulkRetryState = "canceled" // by CancelBulkRetry
)

// Final reports whether nothing more happens.
func (s BulkRetryState) Final() bool { return s == BulkRetryDone || s == BulkRetryCanceled }

// BulkRetryOptions are the options of BulkRetry.
type BulkRetryOptions struct {
	// Rate is how many deliveries are retried in a second. Default: 100; at most 100,000.
	Rate float64
	// DryRun only counts what matches now.
	DryRun bool
}

// BulkRetry is the retry of everything that a query selects.
type BulkRetry struct {
	ID    string         `json:"id"` // br_…; "" for a dry run
	Query DeliveryQuery  `json:"query"`
	State BulkRetryState `json:"state"`
	Rate  float64        `json:"rate"` // deliveries a second
	// Matched are the deliveries that the query yielded up to now: Requeued are due, Skipped could not be
	// retried (see Retry for what forbids it). A step that was under way when a process died may count twice
	// in Matched and be missing in Requeued.
	Matched  int64 `json:"matched"`
	Requeued int64 `json:"requeued"`
	Skipped  int64 `json:"skipped"`
	// Canceled are those of Requeued that CancelBulkRetry ended.
	Canceled   int64      `json:"canceled"`
	DryRun     bool       `json:"dryRun"`
	CreatedAt  time.Time  `json:"createdAt"`
	UpdatedAt  time.Time  `json:"updatedAt"`
	FinishedAt *time.Time `json:"finishedAt"` // nil while it is not done or canceled
}

const (
	bulkRate     = 100 // deliveries a second
	maxBulkRate  = 100_000
	bulkStepSize = 500              // deliveries at most
	bulkLease    = 30 * time.Second // of a leader
	bulkPoll     = 5 * time.Second  // to find bulk retries that nobody leads; PollInterval if that is longer
)

// BulkRetry retries all deliveries that the query selects and that were made before this call, newest
// first, and returns at once; Run does the work, in this process or another, and goes on after a restart.
// See GetBulkRetry for its progress. "Everything that failed for this endpoint since T" is
//
//	d.BulkRetry(ctx, webhook.DeliveryQuery{TenantID: t, EndpointID: e, FinishedSince: T}, webhook.BulkRetryOptions{})
//
// Without Status and States the query means StatusFailed. It must name a tenant, an endpoint, an event or
// a time; or say AllTenants. After and Limit have no place in it. Attempts carry the bulk retry's ID and
// TriggerBulkRetry. Of an Ordered endpoint the deliveries go out in order only as far as they are due
// together.
//
// Errors: ErrInvalid; errors.ErrUnsupported, if the store keeps no bulk retries.
func (d *Dispatcher) BulkRetry(ctx context.Context, q DeliveryQuery, opts BulkRetryOptions) (BulkRetry, error) {
	if err := completeBulkQuery(&q); err != nil {
		return BulkRetry{}, err
	}
	if opts.Rate == 0 {
		opts.Rate = bulkRate
	}
	if !(opts.Rate > 0 && opts.Rate <= maxBulkRate) || math.IsInf(1/opts.Rate, 0) {
		return BulkRetry{}, invalid("BulkRetryOptions.Rate", "is not between 0 and %d a second", maxBulkRate)
	}
	now := d.now()
	b := BulkRetry{Query: q, State: BulkRetryRunning, Rate: opts.Rate, CreatedAt: now, UpdatedAt: now}
	bound := d.newID(id.Delivery)
	if opts.DryRun {
		return d.countBulk(ctx, b, bound)
	}
	store, err := d.bulkStore()
	if err != nil {
		return BulkRetry{}, err
	}
	b.ID = d.newID(id.BulkRetry)
	row := BulkRetryRow{
		ID: b.ID, TenantID: q.TenantID, AllTenants: q.AllTenants, State: b.State, CreatedAt: now, UpdatedAt: now,
	}
	if err := (bulkProgress{BulkRetry: b, Bound: bound, Cursor: bound, Swept: bound}).encode(&row); err != nil {
		return BulkRetry{}, err
	}
	if err := store.CreateBulkRetry(ctx, row); err != nil {
		return BulkRetry{}, err
	}
	d.bulkSoon()
	return b, nil
}

func completeBulkQuery(q *DeliveryQuery) error {
	if q.TenantID == "" && !q.AllTenants && q.EndpointID == "" && q.EventID == "" &&
		q.Since.IsZero() && q.Until.IsZero() && q.FinishedSince.IsZero() {
		return invalid("DeliveryQuery", "names neither tenant nor endpoint, event or time; "+
			"set AllTenants to retry whatever failed")
	}
	if q.After != "" || q.Limit != 0 {
		return invalid("DeliveryQuery", "has After or Limit, which are for lists")
	}
	if q.AllTenants {
		q.TenantID = ""
	}
	if q.Status == "" && len(q.States) == 0 {
		q.Status = StatusFailed
	}
	return nil
}

func (d *Dispatcher) countBulk(ctx context.Context, b BulkRetry, bound string) (BulkRetry, error) {
	q := b.Query
	q.After, q.Limit = bound, bulkStepSize
	for _, err := range d.Deliveries(ctx, q) {
		if err != nil {
			return BulkRetry{}, err
		}
		b.Matched++
	}
	b.DryRun, b.State, b.FinishedAt = true, BulkRetryDone, timeOrNull(d.now())
	return b, nil
}

// GetBulkRetry returns a bulk retry with its progress, or ErrNotFound. Retention takes finished ones.
func (d *Dispatcher) GetBulkRetry(ctx context.Context, bulkRetryID string) (BulkRetry, error) {
	store, err := d.bulkStore()
	if err != nil {
		return BulkRetry{}, err
	}
	row, err := store.GetBulkRetry(ctx, bulkRetryID)
	if err != nil {
		return BulkRetry{}, err
	}
	p, err := decodeBulk(row)
	return p.BulkRetry, err
}

// ListBulkRetries lists bulk retries, newest first.
func (d *Dispatcher) ListBulkRetries(ctx context.Context, q BulkRetryQuery) ([]BulkRetry, error) {
	store, err := d.bulkStore()
	if err != nil {
		return nil, err
	}
	if err := validatePage(id.BulkRetry, q.After, &q.Limit); err != nil {
		return nil, err
	}
	rows, err := store.ListBulkRetries(ctx, q)
	if err != nil {
		return nil, err
	}
	list := make([]BulkRetry, len(rows))
	for i, row := range rows {
		p, err := decodeBulk(row)
		if err != nil {
			return nil, err
		}
		list[i] = p.BulkRetry
	}
	return list, nil
}

// CancelBulkRetry stops a bulk retry. Deliveries that were finished before it, and that it has retried but
// nobody attempted yet, end with code BULK_RETRY_CANCELLED; Run does that, in small steps. Deliveries that
// were pending before it go on: they lose nothing by having been due sooner. Canceling again does no
// harm; ErrConflict says that it is done.
func (d *Dispatcher) CancelBulkRetry(ctx context.Context, bulkRetryID string) error {
	store, err := d.bulkStore()
	if err != nil {
		return err
	}
	_, err = store.UpdateBulkRetry(ctx, bulkRetryID, func(row *BulkRetryRow) error {
		switch row.State {
		case BulkRetryDone:
			return fmt.Errorf("%w: bulk retry %s is done; cancel deliveries one by one", ErrConflict, bulkRetryID)
		case BulkRetryRunning:
			return d.changeBulk(row, func(p *bulkProgress) {
				p.State = BulkRetryCanceling
				if !p.begunFinal() {
					p.finish(BulkRetryCanceled, d.now())
				}
			})
		}
		return nil
	})
	if err == nil {
		d.bulkSoon()
	}
	return err
}

// bulkProgress is a bulk retry and how far it is.
type bulkProgress struct {
	BulkRetry
	Bound  string `json:"bound"`  // delivery IDs below it take part
	Cursor string `json:"cursor"` // the last one seen, going down
	Swept  string `json:"swept"`  // the same for what cancellation ends
}

// begunFinal reports whether all that the query selects was finished before.
func (p *bulkProgress) begunFinal() bool {
	if p.Query.Status != "" {
		return p.Query.Status != StatusPending
	}
	return !slices.ContainsFunc(p.Query.States, func(s DeliveryState) bool { return !s.Final() })
}

func (p *bulkProgress) finish(state BulkRetryState, now time.Time) {
	p.State, p.FinishedAt = state, &now
}

func (p bulkProgress) encode(row *BulkRetryRow) (err error) {
	row.State, row.UpdatedAt = p.State, p.UpdatedAt
	if row.Progress, err = json.Marshal(p); err != nil {
		return fmt.Errorf("webhook: encode bulk retry %s: %w", p.ID, err)
	}
	return nil
}

func decodeBulk(row BulkRetryRow) (p bulkProgress, err error) {
	if err := json.Unmarshal(row.Progress, &p); err != nil {
		return p, fmt.Errorf("webhook: bulk retry %s is damaged: %w", row.ID, err)
	}
	return p, nil
}

// changeBulk changes the progress in a row.
func (d *Dispatcher) changeBulk(row *BulkRetryRow, change func(*bulkProgress)) error {
	p, err := decodeBulk(*row)
	if err != nil {
		return err
	}
	change(&p)
	p.UpdatedAt = d.now()
	return p.encode(row)
}

// bulkStore is the one place that asks for the capability.
func (d *Dispatcher) bulkStore() (BulkStore, error) {
	if s, ok := d.store.(BulkStore); ok {
		return s, nil
	}
	return nil, fmt.Errorf("webhook: a %T keeps no bulk retries; it would have to implement webhook.BulkStore: %w",
		d.store, errors.ErrUnsupported)
}

// bulkSoon lets Run, if it is running, look for bulk retries now.
func (d *Dispatcher) bulkSoon() {
	if r := d.current.Load(); r != nil {
		select {
		case r.bulk <- struct{}{}:
		default:
		}
	}
}
