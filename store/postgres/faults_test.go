package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/storetest"
)

func TestFaults(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("SKIPPED under the race detector and with -short, since it takes minutes; package memory runs it there")
	}
	t.Parallel()
	pool := pgtest.Pool(t, pgtest.Database(t), 4)
	o := newOutside(t)
	storetest.RunFaults(t, func(t *testing.T) webhook.Store { return o.open(t, pool) })
}

// outside makes the calls of a bubble of testing/synctest outside of it: in it, the goroutines and deadlines
// of connections would be the bubble's. Its channels were made outside, so the bubble's clock stands still
// while a call is under way.
type outside struct{ idle chan *worker }

type worker struct {
	calls chan func(back)
	run   chan func() // in the bubble; nil: the call is over
	ran   chan struct{}
}

// back runs a function in the bubble that the call came from.
type back func(func())

func newOutside(t *testing.T) *outside {
	const workers = 4
	o := &outside{make(chan *worker, workers)}
	for range workers {
		w := &worker{make(chan func(back)), make(chan func()), make(chan struct{})}
		go func() {
			for call := range w.calls {
				call(func(f func()) {
					w.run <- f
					<-w.ran
				})
				w.run <- nil
			}
		}()
		t.Cleanup(func() { close(w.calls) })
		o.idle <- w
	}
	return o
}

// do is called in the bubble and returns when the call, made outside, has ended.
func (o *outside) do(call func(back)) {
	w := <-o.idle
	w.calls <- call
	for f := <-w.run; f != nil; f = <-w.run {
		f()
		w.ran <- struct{}{}
	}
	o.idle <- w
}

// callTimeout is real: a bubble's contexts mean nothing outside.
const callTimeout = time.Minute

func calling[T any](o *outside, call func(context.Context, back) (T, error)) (v T, err error) {
	o.do(func(b back) {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		v, err = call(ctx, b)
	})
	return v, err
}

func (o *outside) open(t *testing.T, pool *pgxpool.Pool) webhook.Store {
	st, err := calling(o, func(ctx context.Context, _ back) (*postgres.Store, error) {
		st, err := postgres.New(ctx, pool, postgres.WithoutListen())
		if err == nil {
			_, err = pool.Exec(ctx, empty)
		}
		return st, err
	})
	require.NoError(t, err)
	return outsideStore{o, st}
}

var (
	_ webhook.BulkStore     = outsideStore{}
	_ webhook.ParallelStore = outsideStore{}
)

// outsideStore does not have the server's clock, by which nothing would happen in a bubble.
type outsideStore struct {
	*outside
	st *postgres.Store
}

func (s outsideStore) Commits() int { return s.st.Commits() }

func (s outsideStore) Commit(_ context.Context, b webhook.Batch) (webhook.Result, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.Result, error) { return s.st.Commit(ctx, b) })
}

func (s outsideStore) Claim(_ context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	return calling(s.outside, func(ctx context.Context, b back) (webhook.ClaimResult, error) {
		if newID := r.NewAttemptID; newID != nil {
			r.NewAttemptID = func() (id string) {
				b(func() { id = newID() })
				return id
			}
		}
		return s.st.Claim(ctx, r)
	})
}

func (s outsideStore) Requeue(_ context.Context, r webhook.RequeueRequest) ([]webhook.RequeueResult, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.RequeueResult, error) { return s.st.Requeue(ctx, r) })
}

func (s outsideStore) Prune(_ context.Context, r webhook.PruneRequest) (webhook.PruneResult, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.PruneResult, error) { return s.st.Prune(ctx, r) })
}

func (s outsideStore) Erase(_ context.Context, r webhook.EraseRequest) (webhook.EraseResult, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.EraseResult, error) { return s.st.Erase(ctx, r) })
}

func (s outsideStore) CreateEndpoint(_ context.Context, row webhook.EndpointRow) (webhook.EndpointRow, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.EndpointRow, error) { return s.st.CreateEndpoint(ctx, row) })
}

func (s outsideStore) UpdateEndpoint(_ context.Context, id string, change func(*webhook.EndpointRow) error) (webhook.EndpointRow, error) {
	return calling(s.outside, func(ctx context.Context, b back) (webhook.EndpointRow, error) {
		return s.st.UpdateEndpoint(ctx, id, func(row *webhook.EndpointRow) (err error) {
			b(func() { err = change(row) })
			return err
		})
	})
}

func (s outsideStore) GetEndpoint(_ context.Context, id string) (webhook.EndpointRow, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.EndpointRow, error) { return s.st.GetEndpoint(ctx, id) })
}

func (s outsideStore) ListEndpoints(_ context.Context, q webhook.EndpointQuery) ([]webhook.EndpointRow, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.EndpointRow, error) { return s.st.ListEndpoints(ctx, q) })
}

func (s outsideStore) SyncEndpoints(_ context.Context, after int64, limit int) (rows []webhook.EndpointRow, generation int64, err error) {
	rows, err = calling(s.outside, func(ctx context.Context, _ back) (rows []webhook.EndpointRow, err error) {
		rows, generation, err = s.st.SyncEndpoints(ctx, after, limit)
		return rows, err
	})
	return rows, generation, err
}

func (s outsideStore) GetEvent(_ context.Context, id string) (webhook.Event, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.Event, error) { return s.st.GetEvent(ctx, id) })
}

func (s outsideStore) ListEvents(_ context.Context, q webhook.EventQuery) ([]webhook.Event, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.Event, error) { return s.st.ListEvents(ctx, q) })
}

func (s outsideStore) GetDelivery(_ context.Context, now time.Time, id string) (webhook.DeliveryListItem, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.DeliveryListItem, error) {
		return s.st.GetDelivery(ctx, now, id)
	})
}

func (s outsideStore) ListDeliveries(_ context.Context, now time.Time, q webhook.DeliveryQuery) ([]webhook.DeliveryListItem, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.DeliveryListItem, error) {
		return s.st.ListDeliveries(ctx, now, q)
	})
}

func (s outsideStore) ListAttempts(_ context.Context, q webhook.AttemptQuery) ([]webhook.DeliveryAttempt, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.DeliveryAttempt, error) { return s.st.ListAttempts(ctx, q) })
}

func (s outsideStore) Stats(_ context.Context, now time.Time, q webhook.StatsQuery) (webhook.Stats, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.Stats, error) { return s.st.Stats(ctx, now, q) })
}

func (s outsideStore) CreateBulkRetry(_ context.Context, row webhook.BulkRetryRow) error {
	_, err := calling(s.outside, func(ctx context.Context, _ back) (struct{}, error) { return struct{}{}, s.st.CreateBulkRetry(ctx, row) })
	return err
}

func (s outsideStore) UpdateBulkRetry(_ context.Context, id string, change func(*webhook.BulkRetryRow) error) (webhook.BulkRetryRow, error) {
	return calling(s.outside, func(ctx context.Context, b back) (webhook.BulkRetryRow, error) {
		return s.st.UpdateBulkRetry(ctx, id, func(row *webhook.BulkRetryRow) (err error) {
			b(func() { err = change(row) })
			return err
		})
	})
}

func (s outsideStore) GetBulkRetry(_ context.Context, id string) (webhook.BulkRetryRow, error) {
	return calling(s.outside, func(ctx context.Context, _ back) (webhook.BulkRetryRow, error) { return s.st.GetBulkRetry(ctx, id) })
}

func (s outsideStore) ListBulkRetries(_ context.Context, q webhook.BulkRetryQuery) ([]webhook.BulkRetryRow, error) {
	return calling(s.outside, func(ctx context.Context, _ back) ([]webhook.BulkRetryRow, error) { return s.st.ListBulkRetries(ctx, q) })
}
