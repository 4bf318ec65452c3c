// Package sqldb keeps webhooks in SQLite. It holds all SQL and logic of package sqlite and imports no
// driver, so that a program which has one already does not get a second: two SQLite libraries in one
// process corrupt a file that both open.
package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/outhook/webhook"
)

// Store is a [webhook.Store] in a SQLite database. It is safe for concurrent use.
type Store struct {
	src      source
	db       *sql.DB
	id       identity
	names    *names
	eps      *endpoints
	tenants  *tenants
	handed   *handed
	ring     *ring
	busy     *atomic.Bool // the last Claim found something
	owners   Owners
	bound    bool // to a transaction of the user's: nothing read through it may be remembered
	checkTx  func(context.Context, conn) error
	checkOne sync.Once
	checkErr error
}

var _ webhook.Store = (*Store)(nil)

// New returns a store in the user's own database, whose tables all begin with webhook_. It creates
// or migrates them. The connections must have synchronous=FULL, SQLite's default; WAL is advised. A
// pool of one connection is enough. Calls take a connection for as long as they last.
func New(db *sql.DB, opts ...Option) (*Store, error) {
	s := newStore(&pool{db: db})
	s.db = db
	ctx := context.Background()
	if err := s.write(ctx, func(q *session) error { return q.prepare(false, opts) }); err != nil {
		return nil, err
	}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Open returns a store on connections of its own, for package sqlite and others that bring a driver:
// one for writing and up to four for reading. The database must be new or one of this library; db
// is what [Store.DB] returns, on the same file, and is closed with the store.
func Open(connector driver.Connector, db *sql.DB, opts ...Option) (*Store, error) {
	ctx := context.Background()
	src, err := openPinned(ctx, connector)
	if err != nil {
		return nil, explain(err)
	}
	s := newStore(src)
	s.db = db
	err = s.write(ctx, func(q *session) error { return q.prepare(true, opts) })
	if err == nil {
		err = s.identify(ctx)
	}
	if err == nil {
		err = src.growWAL(ctx, s.id.file+"-wal")
	}
	if err != nil {
		return nil, errors.Join(err, src.close())
	}
	return s, nil
}

func newStore(src source) *Store {
	return &Store{src: src, names: newNames(), eps: newEndpoints(), tenants: newTenants(), handed: &handed{},
		ring: &ring{}, busy: &atomic.Bool{}, owners: newNobodyElse()}
}

// DB returns the database, for transactions of your own beside the store's. A write transaction
// that stays open stalls every Send.
func (s *Store) DB() *sql.DB { return s.db }

// Close ends the store: later calls return [webhook.ErrClosed]. It waits for calls under way. A
// database given to [New] stays open.
func (s *Store) Close() error {
	err := s.src.close()
	if p, own := s.src.(*pinned); own && p != nil && s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	return errors.Join(err, s.owners.Close())
}

// source gives connections: for reading in one snapshot, or for one write transaction.
type source interface {
	read(ctx context.Context, do func(conn) error) error
	write(ctx context.Context, d durability, do func(conn) error) error
	close() error
}

// durability says what a write transaction survives.
type durability uint8

const (
	powerLoss durability = iota // synchronous=FULL
	// processDeath is enough for a claim: only processes that are alive must see a lease, and they read
	// it from the WAL unsynced. When the power goes, so do the claimers; what they had under way is
	// claimed again, and may lack its interrupted attempt. The next FULL commit syncs all that stands in
	// the WAL before it.
	processDeath
)

// session is a conn on its way through one snapshot or transaction.
type session struct {
	ctx   context.Context // the caller's
	run   context.Context // given to the driver
	c     conn
	s     *Store
	fresh map[string]int64 // names written by this transaction
}

func (s *Store) read(ctx context.Context, do func(*session) error) error {
	return explain(s.src.read(ctx, func(c conn) error {
		q := &session{ctx: ctx, run: ctx, c: c, s: s}
		if err := s.check(q); err != nil {
			return err
		}
		return do(q)
	}))
}

func (s *Store) write(ctx context.Context, do func(*session) error) error {
	return s.writeTo(ctx, powerLoss, do)
}

func (s *Store) writeTo(ctx context.Context, survives durability, do func(*session) error) error {
	var q *session
	err := s.src.write(ctx, survives, func(c conn) error {
		// A context that can end costs a goroutine for each statement in common drivers, so it is
		// looked at between statements instead.
		q = &session{ctx: ctx, run: context.WithoutCancel(ctx), c: c, s: s}
		if err := s.check(q); err != nil {
			return err
		}
		return do(q)
	})
	if err != nil {
		return explain(err)
	}
	if !s.bound {
		s.names.add(q.fresh)
	}
	return nil
}

func (s *Store) check(q *session) error {
	if s.checkTx == nil {
		return nil
	}
	s.checkOne.Do(func() { s.checkErr = s.checkTx(q.run, q.c) })
	return s.checkErr
}

func (q *session) exec(query string, args ...any) error {
	_, err := q.changed(query, args...)
	return err
}

func (q *session) changed(query string, args ...any) (int64, error) {
	done, err := q.do(query, args)
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

func (q *session) do(query string, args []any) (driver.Result, error) {
	if err := q.ctx.Err(); err != nil {
		return nil, err
	}
	return q.c.exec(q.run, query, args)
}

func (q *session) query(scan func(row) error, query string, args ...any) error {
	if err := q.ctx.Err(); err != nil {
		return err
	}
	return q.c.query(q.run, query, args, scan)
}

// one reads at most one row.
func (q *session) one(scan func(row), query string, args ...any) (found bool, err error) {
	err = q.query(func(r row) error {
		found = true
		scan(r)
		return errStop
	}, query, args...)
	return found, err
}

func (q *session) int(query string, args ...any) (v int64, err error) {
	_, err = q.one(func(r row) { v = r.int(0) }, query, args...)
	return v, err
}

func (q *session) generation() (int64, error) {
	return q.int(`SELECT value FROM webhook_meta WHERE name = 'generation'`)
}

// closing counts calls under way, so that Close can wait for them.
type closing struct {
	mu     sync.RWMutex
	closed bool
}

// enter returns ErrClosed, or nil and then leave must follow.
func (c *closing) enter() error {
	c.mu.RLock()
	if c.closed {
		c.mu.RUnlock()
		return fmt.Errorf("sqlite: %w", webhook.ErrClosed)
	}
	return nil
}

func (c *closing) leave() { c.mu.RUnlock() }

// shut reports whether it was the first.
func (c *closing) shut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.closed
	c.closed = true
	return !was
}
