package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/packed"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/sqlite"
)

// With Postgres a lease must end before others take over, so attempts are short, and leases nearly as
// short as they can be.
const (
	pgAttemptTimeout = time.Second
	pgLease          = pgAttemptTimeout + 15*time.Second
	// An attempt begins only while its lease outlasts it by this much.
	pgStartMargin = 5 * time.Second
	poolSize      = 2
)

// store is one that can be closed.
type store interface {
	webhook.Store
	Close() error
}

// pooledStore closes its pool, too. It embeds the type, not the interface: that would hide what the store
// can do beyond it, such as FreeLeases.
type pooledStore struct {
	*postgres.Store
	pool *pgxpool.Pool
}

func (s pooledStore) Close() error {
	defer s.pool.Close()
	return s.Store.Close()
}

// openStore opens the round's database, whatever it is in.
func openStore(ctx context.Context, path, postgresURL string) (store, error) {
	if postgresURL == "" {
		st, err := sqlite.Open(path)
		if err != nil {
			return nil, err // not st: a nil *Store is no nil store
		}
		return st, nil
	}
	config, err := pgxpool.ParseConfig(postgresURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolSize
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	st, err := postgres.New(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return pooledStore{st, pool}, nil
}

// timeout is that of an attempt.
func (o options) timeout() time.Duration {
	if o.Postgres {
		return pgAttemptTimeout
	}
	return attemptTimeout
}

// startServer makes a cluster for the round.
func (r *round) startServer(ctx context.Context) (err error) {
	if !r.o.Postgres {
		return nil
	}
	if r.cluster, err = pgtest.Start(ctx, "max_wal_size = 512MB"); err == nil {
		r.url = r.cluster.URL("postgres")
	}
	return err
}

// harass does to the server and to one more process what may happen to them, until stop is called:
// connections are terminated, the server crashes, and a process is stopped for two leases.
func (r *round) harass() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.terminateConnections(ctx) })
	wg.Go(func() { r.crashServer(ctx) })
	wg.Go(func() { r.stopProcesses(ctx) })
	return func() error {
		cancel()
		wg.Wait()
		return nil
	}
}

// pause waits, and reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *round) random(of uint64) *rand.Rand {
	return rand.New(rand.NewPCG(r.o.Seed, uint64(r.n)<<8|of))
}

// terminateConnections ends a connection now and then, in the middle of whatever it does.
func (r *round) terminateConnections(ctx context.Context) {
	random := r.random(100)
	var c *pgx.Conn
	for pause(ctx, time.Duration(random.Int64N(int64(600*time.Millisecond)))) {
		var err error
		if c == nil || c.IsClosed() {
			if c, err = pgx.Connect(ctx, r.url); err != nil {
				continue // the server is down
			}
		}
		n := 0
		if err := c.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) x`).Scan(&n); err == nil {
			r.book.count(func(b *book) { b.terminated += n })
		}
	}
	if c != nil {
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(last)
	}
}

// crashServer restarts the server without a shutdown.
func (r *round) crashServer(ctx context.Context) {
	random := r.random(101)
	for pause(ctx, r.o.CrashEvery/2+time.Duration(random.Int64N(int64(r.o.CrashEvery)))) {
		if err := r.cluster.Crash(context.WithoutCancel(ctx)); err != nil {
			r.book.fail(err)
			return
		}
		r.book.count(func(b *book) { b.crashes++ })
	}
}

// longestTrap is how long a process that is to be stopped may go without a request that is refused.
const longestTrap = 20 * time.Second

// stopProcesses lets a process work, stops it for two leases while it has a request under way that will be
// refused, lets it go on with what it had, and kills it. Its result comes late, for a lease that others took
// over, and must change nothing.
func (r *round) stopProcesses(ctx context.Context) {
	random := r.random(102)
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%d.stopped.%d", r.n, n)
		p, err := r.start(job{Name: name, Seed: random.Uint64(), Load: r.o.Load, Resend: r.book.takeUnknown()})
		if err != nil {
			r.book.fail(err)
			return
		}
		pause(ctx, 2*time.Second+time.Duration(random.Int64N(int64(2*time.Second))))
		select {
		case <-r.receiver.trap(name):
		case <-time.After(longestTrap):
		case <-ctx.Done():
		}
		stopErr := p.stopped(true)
		whole := pause(ctx, r.o.StopFor)
		err = errors.Join(stopErr, p.stopped(false))
		pause(ctx, 5*time.Second)
		if err = errors.Join(err, p.kill()); err != nil {
			r.book.fail(fmt.Errorf("process %s: %w", name, err))
		}
		r.book.ended(p)
		r.book.count(func(b *book) {
			b.kills++
			if whole {
				b.stopped++
			}
		})
	}
}

func (b *book) count(change func(b *book)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

// checkFence looks at failures that came when a later lease of the delivery had been used: they are on record,
// and must not have taken effect.
func (c *comparison) checkFence(ctx context.Context) error {
	if !c.r.o.Postgres {
		return nil
	}
	db, err := pgx.Connect(ctx, c.r.url)
	if err != nil {
		return err
	}
	defer func() { c.r.book.fail(db.Close(ctx)) }()
	rows, err := db.Query(ctx, `SELECT body, delivery, lease FROM webhook.attempt a WHERE status = 1 AND EXISTS (
		SELECT FROM webhook.attempt WHERE delivery = a.delivery AND lease > a.lease AND started_at < a.completed_at)`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		var delivery, lease int64
		if err := rows.Scan(&body, &delivery, &lease); err != nil {
			return err
		}
		b, err := packed.UnpackBody(body, 0, &webhook.DeliveryAttempt{})
		if err != nil {
			return err
		}
		if b.Applied {
			c.failf("the failure of delivery %d under lease %d took effect, though a later lease was in use", delivery, lease)
		}
		c.r.book.count(func(b *book) { b.fenced++ })
	}
	return rows.Err()
}

// checkLeases: nobody sent a delivery while another's lease on it was valid, and what the dead and the
// stopped left behind was taken over in time.
func (c *comparison) checkLeases() {
	if !c.r.o.Postgres {
		return
	}
	for at, requests := range c.requests {
		slices.SortFunc(requests, func(a, b entry) int { return a.At.Compare(b.At) })
		for i := 1; i < len(requests); i++ {
			// After a success nobody sends again, unless the result was lost; and then not before the lease ended.
			gap := requests[i].At.Sub(requests[i-1].At)
			if requests[i-1].Status == 200 && gap < pgAttemptTimeout+pgStartMargin-100*time.Millisecond {
				c.r.book.count(func(b *book) { b.overlaps++ })
				c.failf("event %s went to endpoint %d again %v after a success, under a live lease", at.eventID, at.path, gap)
			}
		}
	}
	if n := c.r.receiver.overlapped(); n > 0 {
		c.r.book.count(func(b *book) { b.overlaps += n })
		c.failf("%d requests of a delivery came while another of it was under way", n)
	}
	for _, attempts := range c.attempts {
		for _, a := range attempts {
			if a.Status != webhook.AttemptInterrupted || a.Error != webhook.InterruptedError {
				continue
			}
			after := a.CompletedAt.Sub(a.StartedAt)
			c.r.book.count(func(b *book) { b.takeOver = max(b.takeOver, after) })
			if limit := c.r.o.TakeOver; after > limit {
				c.failf("delivery %s, leased by a process that died, was taken over after %v; the limit is %v", a.DeliveryID, after, limit)
			}
			if after < pgLease-time.Second { // a fresh send's lease begins a moment before its commit
				c.failf("delivery %s was taken over after %v, before its lease of %v had ended", a.DeliveryID, after, pgLease)
			}
		}
	}
}
