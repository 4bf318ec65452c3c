package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

// errFault is what a call returns that was made to fail.
var errFault = errors.New("storetest: this call was made to fail")

// failure is a way in which calls fail.
type failure struct {
	name string
	// done: the call does its work and its answer is lost.
	done bool
	// lasts is how long all further calls fail too; 0: only one fails.
	lasts time.Duration
	// only is the one method that fails; "": each in turn, and all of them while it lasts.
	only string
	// takes is how long a call takes to fail, as when it waits for a lock.
	takes time.Duration
}

// faulty is a store of which the nth call of a method fails, counted from when it was armed.
type faulty struct {
	webhook.Store
	mu     sync.Mutex
	method string // "": no fault begins
	left   int    // calls of method until then
	how    failure
	failed bool
	until  time.Time // of the fault
}

// Commits implements [webhook.ParallelStore].
func (f *faulty) Commits() int {
	if s, ok := f.Store.(webhook.ParallelStore); ok {
		return s.Commits()
	}
	return 1
}

// withFaults hides every optional interface of the store but those for owners, for bulk retries and for several
// commits at a time.
func withFaults(s webhook.Store) (*faulty, webhook.Store) {
	f := &faulty{Store: s}
	owners, isOwner := s.(webhook.OwnerStore)
	bulks, isBulk := s.(webhook.BulkStore)
	o, b := faultyOwner{f, owners}, faultyBulk{f, bulks}
	switch {
	case isOwner && isBulk:
		return f, &struct {
			*faulty
			faultyOwner
			faultyBulk
		}{f, o, b}
	case isOwner:
		return f, &struct {
			*faulty
			faultyOwner
		}{f, o}
	case isBulk:
		return f, &struct {
			*faulty
			faultyBulk
		}{f, b}
	}
	return f, f
}

func (f *faulty) arm(method string, nth int, how failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.method, f.left, f.how = method, nth, how
}

// disarm lets no further fault begin. It reports whether one did.
func (f *faulty) disarm() (failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.method = ""
	return f.failed
}

// fails says whether a call fails, and whether it is done all the same.
func (f *faulty) fails(method string) (fails, done bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if method == f.method {
		if f.left--; f.left == 0 {
			f.failed, f.until = true, now.Add(f.how.lasts)
			return true, f.how.done
		}
	}
	return now.Before(f.until) && (f.how.only == "" || f.how.only == method), f.how.done
}

// attempt makes a call that may be made to fail.
func attempt[T any](f *faulty, method string, call func() (T, error)) (T, error) {
	fails, done := f.fails(method)
	if !fails {
		return call()
	}
	var none T
	time.Sleep(f.how.takes)
	if done {
		if _, err := call(); err != nil {
			return none, err
		}
	}
	return none, errFault
}

func (f *faulty) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	return attempt(f, "Commit", func() (webhook.Result, error) { return f.Store.Commit(ctx, b) })
}

func (f *faulty) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	return attempt(f, "Claim", func() (webhook.ClaimResult, error) { return f.Store.Claim(ctx, r) })
}

func (f *faulty) Requeue(ctx context.Context, r webhook.RequeueRequest) ([]webhook.RequeueResult, error) {
	return attempt(f, "Requeue", func() ([]webhook.RequeueResult, error) { return f.Store.Requeue(ctx, r) })
}

func (f *faulty) Prune(ctx context.Context, r webhook.PruneRequest) (webhook.PruneResult, error) {
	return attempt(f, "Prune", func() (webhook.PruneResult, error) { return f.Store.Prune(ctx, r) })
}

func (f *faulty) Erase(ctx context.Context, r webhook.EraseRequest) (webhook.EraseResult, error) {
	return attempt(f, "Erase", func() (webhook.EraseResult, error) { return f.Store.Erase(ctx, r) })
}

func (f *faulty) CreateEndpoint(ctx context.Context, row webhook.EndpointRow) (webhook.EndpointRow, error) {
	return attempt(f, "CreateEndpoint", func() (webhook.EndpointRow, error) { return f.Store.CreateEndpoint(ctx, row) })
}

func (f *faulty) UpdateEndpoint(ctx context.Context, id string, change func(*webhook.EndpointRow) error) (webhook.EndpointRow, error) {
	return attempt(f, "UpdateEndpoint", func() (webhook.EndpointRow, error) { return f.Store.UpdateEndpoint(ctx, id, change) })
}

func (f *faulty) GetEndpoint(ctx context.Context, id string) (webhook.EndpointRow, error) {
	return attempt(f, "GetEndpoint", func() (webhook.EndpointRow, error) { return f.Store.GetEndpoint(ctx, id) })
}

func (f *faulty) ListEndpoints(ctx context.Context, q webhook.EndpointQuery) ([]webhook.EndpointRow, error) {
	return attempt(f, "ListEndpoints", func() ([]webhook.EndpointRow, error) { return f.Store.ListEndpoints(ctx, q) })
}

func (f *faulty) SyncEndpoints(ctx context.Context, after int64, limit int) (rows []webhook.EndpointRow, generation int64, err error) {
	generation, err = attempt(f, "SyncEndpoints", func() (g int64, err error) {
		rows, g, err = f.Store.SyncEndpoints(ctx, after, limit)
		return g, err
	})
	if err != nil {
		rows = nil
	}
	return rows, generation, err
}

func (f *faulty) GetEvent(ctx context.Context, id string) (webhook.Event, error) {
	return attempt(f, "GetEvent", func() (webhook.Event, error) { return f.Store.GetEvent(ctx, id) })
}

func (f *faulty) ListEvents(ctx context.Context, q webhook.EventQuery) ([]webhook.Event, error) {
	return attempt(f, "ListEvents", func() ([]webhook.Event, error) { return f.Store.ListEvents(ctx, q) })
}

func (f *faulty) GetDelivery(ctx context.Context, now time.Time, id string) (webhook.DeliveryListItem, error) {
	return attempt(f, "GetDelivery", func() (webhook.DeliveryListItem, error) { return f.Store.GetDelivery(ctx, now, id) })
}

func (f *faulty) ListDeliveries(ctx context.Context, now time.Time, q webhook.DeliveryQuery) ([]webhook.DeliveryListItem, error) {
	return attempt(f, "ListDeliveries", func() ([]webhook.DeliveryListItem, error) { return f.Store.ListDeliveries(ctx, now, q) })
}

func (f *faulty) ListAttempts(ctx context.Context, q webhook.AttemptQuery) ([]webhook.DeliveryAttempt, error) {
	return attempt(f, "ListAttempts", func() ([]webhook.DeliveryAttempt, error) { return f.Store.ListAttempts(ctx, q) })
}

func (f *faulty) Stats(ctx context.Context, now time.Time, q webhook.StatsQuery) (webhook.Stats, error) {
	return attempt(f, "Stats", func() (webhook.Stats, error) { return f.Store.Stats(ctx, now, q) })
}

// faultyOwner is what a store has that knows the dead.
type faultyOwner struct {
	faults *faulty
	owners webhook.OwnerStore
}

func (o faultyOwner) Owner() string { return o.owners.Owner() }

func (o faultyOwner) FreeLeases(ctx context.Context, now time.Time) (int, error) {
	return attempt(o.faults, "FreeLeases", func() (int, error) { return o.owners.FreeLeases(ctx, now) })
}

// faultyBulk is what a store has that keeps bulk retries.
type faultyBulk struct {
	faults *faulty
	bulks  webhook.BulkStore
}

func (b faultyBulk) CreateBulkRetry(ctx context.Context, row webhook.BulkRetryRow) error {
	_, err := attempt(b.faults, "CreateBulkRetry", func() (struct{}, error) { return struct{}{}, b.bulks.CreateBulkRetry(ctx, row) })
	return err
}

func (b faultyBulk) UpdateBulkRetry(ctx context.Context, id string, change func(*webhook.BulkRetryRow) error) (webhook.BulkRetryRow, error) {
	return attempt(b.faults, "UpdateBulkRetry", func() (webhook.BulkRetryRow, error) { return b.bulks.UpdateBulkRetry(ctx, id, change) })
}

func (b faultyBulk) GetBulkRetry(ctx context.Context, id string) (webhook.BulkRetryRow, error) {
	return attempt(b.faults, "GetBulkRetry", func() (webhook.BulkRetryRow, error) { return b.bulks.GetBulkRetry(ctx, id) })
}

func (b faultyBulk) ListBulkRetries(ctx context.Context, q webhook.BulkRetryQuery) ([]webhook.BulkRetryRow, error) {
	return attempt(b.faults, "ListBulkRetries", func() ([]webhook.BulkRetryRow, error) { return b.bulks.ListBulkRetries(ctx, q) })
}
