package sender

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// table is the queue that many write for themselves: a table, a loop that claims what is due, workers that POST
// and write the outcome. It inserts and claims many rows at a time.
type table struct {
	db     tableDB
	poster *peer.Poster
	rows   chan tableRow
	free   chan struct{} // one for each worker without a row
	stop   context.CancelFunc
	loops  sync.WaitGroup
	sent   atomic.Int64
	failed atomic.Pointer[error]
}

type tableRow struct {
	id      int64
	payload []byte
}

type tableDB interface {
	insert(ctx context.Context, payloads [][]byte) error
	claim(ctx context.Context, limit int) ([]tableRow, error)
	succeeded(ctx context.Context, id int64) error
	count(ctx context.Context) (int, error)
	close() error
}

const tablePoll = 5 * time.Millisecond

func openTable(ctx context.Context, task *load.Task, db tableDB) *table {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	n := task.Params["workers"]
	t := &table{db: db, poster: peer.NewPoster(task), rows: make(chan tableRow, n), free: make(chan struct{}, n), stop: stop}
	for range n {
		t.free <- struct{}{}
		t.loops.Go(func() { t.work(ctx) })
	}
	t.loops.Go(func() { t.poll(ctx) })
	return t
}

func (t *table) poll(ctx context.Context) {
	tick := time.NewTicker(tablePoll)
	defer tick.Stop()
	for ctx.Err() == nil {
		limit := len(t.free)
		var rows []tableRow
		if limit > 0 {
			var err error
			if rows, err = t.db.claim(ctx, limit); err != nil {
				t.fail(err)
			}
		}
		for _, row := range rows {
			<-t.free
			t.rows <- row
		}
		if limit > 0 && len(rows) == limit {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (t *table) work(ctx context.Context) {
	for {
		select {
		case row := <-t.rows:
			if err := t.poster.Post(ctx, strconv.FormatInt(row.id, 10), row.payload); err != nil {
				t.fail(err)
			} else if err := t.db.succeeded(ctx, row.id); err != nil {
				t.fail(err)
			}
			t.free <- struct{}{}
		case <-ctx.Done():
			return
		}
	}
}

func (t *table) fail(err error) {
	if !errors.Is(err, context.Canceled) {
		t.failed.CompareAndSwap(nil, &err)
	}
}

func (t *table) Send(ctx context.Context, payloads [][]byte) error {
	t.sent.Add(int64(len(payloads)))
	if err := t.failed.Load(); err != nil {
		return *err
	}
	return t.db.insert(ctx, payloads)
}

func (t *table) Settle(ctx context.Context) error {
	err := settled(ctx, t, &t.sent)
	if failed := t.failed.Load(); failed != nil {
		err = errors.Join(err, *failed)
	}
	return err
}

func (t *table) Recorded(ctx context.Context) (int, error) { return t.db.count(ctx) }

func (t *table) Close() error {
	t.stop()
	t.loops.Wait()
	t.poster.Close()
	return t.db.close()
}
