// Package postgres keeps webhooks in PostgreSQL 13 or newer, or what speaks its language and keeps its
// locks (Aurora, AlloyDB, Cloud SQL), so that many processes can send and deliver together.
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	st, err := postgres.New(ctx, pool)
//	d, err := webhook.New(st, webhook.Config{})
//
// Its tables have a schema of their own, "webhook". No connection is held while a request is made, and a
// pool of two is enough. [Store.Listen] has one more connection of its own for as long as Run runs.
//
// # Your own transactions
//
// What is sent through [Store.WithTx] or [Store.WithSQLTx] is sent if you commit, and by whichever process is
// the first to see it. Such a transaction may stay open without holding anybody up: it only inserts. The
// one exception is another Send with the same idempotency key, which waits, alone, for how it ends.
//
// # Connection poolers
//
// Behind PgBouncer in transaction mode: give [WithoutListen], since LISTEN belongs to a session, and keep
// the driver from preparing statements, by default_query_exec_mode=exec in the connection string (or
// cache_describe, which is faster; cache_statement, the default, needs PgBouncer 1.21 and
// max_prepared_statements). Other processes' work is then found by polling. Or give [WithListenConfig] a
// direct connection.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook"
)

// Store is a [webhook.Store] in a PostgreSQL database. It is safe for concurrent use.
type Store struct {
	src      source
	pool     *pgxpool.Pool
	schema   string
	instance string // of the database
	self     string // tells this store's notifications from those of others
	lanes    *lanes
	eps      *endpoints
	ring     *ring
	handed   *handed
	texts    *sync.Map // SQL for another schema than the default, by the SQL for that
	quiet    bool      // neither LISTEN nor NOTIFY
	listen   *pgx.ConnConfig
	bound    bool // to a transaction of the user's: nothing read through it may be remembered
}

var _ webhook.ParallelStore = (*Store)(nil)

// Option changes what New does.
type Option func(*Store)

// WithSchema puts the tables into another schema than "webhook", which is created if it is missing. Several
// stores may share a database that way: one for each shard of tenants, or for each environment.
func WithSchema(name string) Option { return func(s *Store) { s.schema = name } }

// WithoutListen makes the store neither listen for other processes' work nor announce its own: for poolers
// in transaction mode, and where thousands of commits a second would queue for the lock that NOTIFY takes.
// Work of other processes is found at the next poll, see webhook.Config.PollInterval.
func WithoutListen() Option { return func(s *Store) { s.quiet = true } }

// WithListenConfig makes Listen use another connection than the pool's settings describe: a direct one
// past a pooler.
func WithListenConfig(c *pgx.ConnConfig) Option { return func(s *Store) { s.listen = c } }

// New returns a store that takes connections from the pool for as long as each call lasts. It creates
// the schema and its tables, or brings them up to date, under a lock, so that processes may start together;
// a role that must not do so can leave it to a migration tool, see [Migrations]. The pool stays yours:
// close it after the store.
func New(ctx context.Context, pool *pgxpool.Pool, options ...Option) (*Store, error) {
	if pool == nil {
		return nil, errors.New("postgres: the pool is nil")
	}
	var random [9]byte
	_, _ = rand.Read(random[:]) // never fails
	s := &Store{
		pool: pool, schema: defaultSchema, self: hex.EncodeToString(random[:8]), lanes: newLanes(random[8]),
		eps: newEndpoints(), ring: &ring{}, handed: &handed{}, texts: &sync.Map{},
	}
	for _, o := range options {
		o(s)
	}
	if s.schema == "" || strings.ContainsRune(s.schema, 0) || len(s.schema) > 63 {
		return nil, fmt.Errorf("postgres: %q is not a schema's name", s.schema)
	}
	s.src = &pooled{pool: pool}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	err := s.read(ctx, func(q *session) (err error) {
		_, err = q.one(`SELECT instance FROM webhook.meta`, nil, &s.instance)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// maxCommits: each takes a connection and a processor of the server, and is smaller.
const maxCommits = 2

// Commits implements [webhook.ParallelStore]. One connection of the pool is left to everything else.
func (s *Store) Commits() int { return max(1, min(maxCommits, int(s.pool.Config().MaxConns)-1)) }

// Close ends the store: later calls return [webhook.ErrClosed]. It waits for calls under way. The pool
// stays open.
func (s *Store) Close() error {
	s.src.close()
	return nil
}

// Now is the database's clock, by which all processes lease.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, func(q *session) error {
		var us int64
		_, err := q.one(`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`, nil, &us)
		now = fromMicro(us)
		return err
	})
	return now, err
}

const defaultSchema = "webhook"

// text is a statement for the schema that the store uses.
func (s *Store) text(query string) string {
	if s.schema == defaultSchema {
		return query
	}
	if text, ok := s.texts.Load(query); ok {
		return text.(string)
	}
	text := inSchema(query, s.schema)
	s.texts.Store(query, text)
	return text
}

// inSchema replaces the default schema. In our SQL "webhook." stands for nothing else.
func inSchema(query, schema string) string {
	quoted := pgx.Identifier{schema}.Sanitize()
	query = strings.ReplaceAll(query, defaultSchema+".", quoted+".")
	return strings.ReplaceAll(query, "SCHEMA IF NOT EXISTS "+defaultSchema, "SCHEMA IF NOT EXISTS "+quoted)
}

// lockKey makes the number of an advisory lock.
func (s *Store) lockKey(parts ...string) int64 {
	return int64(binary.BigEndian.Uint64(digest(append([]string{"outhook webhook", s.schema}, parts...)...)))
}

// source gives connections: for reading in one snapshot, or for one transaction.
type source interface {
	read(ctx context.Context, do func(conn) error) error
	// write begins a transaction together with the first statements that do runs, and commits it together
	// with those that do returns.
	write(ctx context.Context, do func(conn) (last []*statement, err error)) error
	enter() error
	leave()
	close()
}

// session is a conn on its way through one snapshot or transaction.
type session struct {
	ctx  context.Context
	c    conn
	s    *Store
	held []*statement // to be run with what is run next
	last []*statement // to be run right before COMMIT
	lane *lane        // that it counts in, if it does
}

func (s *Store) read(ctx context.Context, do func(*session) error) error {
	if err := s.src.enter(); err != nil {
		return err
	}
	defer s.src.leave()
	return explain(ctx, s.src.read(ctx, func(c conn) error {
		q := &session{ctx: ctx, c: c, s: s}
		if err := q.sameDatabase(); err != nil {
			return err
		}
		return do(q)
	}))
}

// maxDeadlocks is how often a transaction is tried that the server ended for the sake of another.
const maxDeadlocks = 5

func (s *Store) write(ctx context.Context, do func(*session) error) (err error) {
	if err := s.src.enter(); err != nil {
		return err
	}
	defer s.src.leave()
	for range maxDeadlocks {
		var q *session
		err = s.src.write(ctx, func(c conn) ([]*statement, error) {
			q = &session{ctx: ctx, c: c, s: s}
			if err := q.sameDatabase(); err != nil {
				return nil, err
			}
			err := do(q)
			for _, last := range q.last {
				last.sql = s.text(last.sql)
			}
			return append(q.held, q.last...), err
		})
		if q != nil {
			s.lanes.give(q.lane)
		}
		if s.bound || !isCode(err, codeDeadlock, codeSerialization) {
			break
		}
	}
	return explain(ctx, err)
}

// sameDatabase refuses a transaction of the user's on another database than the store's.
func (q *session) sameDatabase() error {
	if !q.s.bound {
		return nil
	}
	b, ok := q.s.src.(*borrowed)
	if !ok || b.checked {
		return nil
	}
	instance := ""
	if _, err := q.one(`SELECT instance FROM webhook.meta`, nil, &instance); err != nil {
		return fmt.Errorf("the transaction does not see the store's tables; begin it on the same database: %w", err)
	}
	if instance != q.s.instance {
		return errors.New("postgres: the transaction is on another database than the store; begin it on the store's")
	}
	b.checked = true
	return nil
}

func (q *session) run(list ...*statement) error {
	if len(list) == 0 {
		return nil
	}
	for _, s := range list {
		s.sql = q.s.text(s.sql)
	}
	list, q.held = append(q.held, list...), nil
	return q.c.run(q.ctx, list...)
}

// later runs statements together with what is run next, if only the COMMIT. They must see to it themselves
// that they fail if they did not do what they should.
func (q *session) later(list ...*statement) {
	for _, s := range list {
		s.sql = q.s.text(s.sql)
	}
	q.held = append(q.held, list...)
}

func (q *session) exec(sql string, args ...any) error {
	_, err := q.changed(sql, args...)
	return err
}

func (q *session) changed(sql string, args ...any) (int64, error) {
	s := &statement{sql: sql, args: args}
	err := q.run(s)
	return s.changed, err
}

func (q *session) query(scan func(row) error, sql string, args ...any) error {
	return q.run(&statement{sql: sql, args: args, scan: scan})
}

// one reads at most one row.
func (q *session) one(sql string, args []any, into ...any) (found bool, err error) {
	err = q.query(func(r row) error {
		found = true
		return r.Scan(into...)
	}, sql, args...)
	return found, err
}

func (q *session) int(sql string, args ...any) (v int64, err error) {
	_, err = q.one(sql, args, &v)
	return v, err
}

func (q *session) generation() (int64, error) { return q.int(`SELECT generation FROM webhook.meta`) }

// begin are the settings of each transaction of our own. Plans are made while tables are still empty and
// kept while they grow, so only those that stay right are allowed: by index, in its order, row by row. A process that is stopped in
// the middle loses its locks after a while. That a commit is durable when it returns does not depend on the
// server's or the role's settings.
const begin = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
	set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true),
	set_config('idle_in_transaction_session_timeout', '15s', true),
	CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END`

// beginWrite keeps plans besides. The server would plan anew for each short array that it sees, which takes
// longer than to carry it out.
const beginWrite = begin + `, set_config('plan_cache_mode', 'force_generic_plan', true)`

// pooled takes connections from the user's pool.
type pooled struct {
	pool *pgxpool.Pool
	closing
}

func (p *pooled) read(ctx context.Context, do func(conn) error) error {
	return p.transact(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", begin, func(c conn) ([]*statement, error) { return nil, do(c) })
}

func (p *pooled) write(ctx context.Context, do func(conn) ([]*statement, error)) error {
	return p.transact(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", beginWrite, do)
}

func (p *pooled) transact(ctx context.Context, start, settings string, do func(conn) ([]*statement, error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release() // which closes a connection that is still in a transaction
	teach(c.Conn().TypeMap())
	opening := &opening{pgxConn: pgxConn{c}, start: start, settings: settings}
	last, err := do(opening)
	if err != nil {
		opening.rollback(ctx)
		return err
	}
	if !opening.open && len(last) == 0 {
		return nil
	}
	if err := opening.run(ctx, append(last, &statement{sql: "COMMIT"})...); err != nil {
		opening.rollback(ctx)
		return err
	}
	return nil
}

// opening begins the transaction together with the first statements.
type opening struct {
	pgxConn
	start, settings string
	open            bool
}

func (o *opening) run(ctx context.Context, list ...*statement) error {
	for _, s := range list {
		if s.rows {
			s.args, s.rows = columns(s.args), false
		}
	}
	if o.open {
		return o.pgxConn.run(ctx, list...)
	}
	o.open = true
	skip := func(row) error { return nil }
	return o.pgxConn.run(ctx, append([]*statement{{sql: o.start}, {sql: o.settings, scan: skip}}, list...)...)
}

// rollback leaves a connection that can be used, if ctx still allows it; else the pool closes it.
func (o *opening) rollback(ctx context.Context) {
	if o.open {
		_ = o.pgxConn.run(ctx, &statement{sql: "ROLLBACK"})
	}
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
		return fmt.Errorf("postgres: %w", webhook.ErrClosed)
	}
	return nil
}

func (c *closing) leave() { c.mu.RUnlock() }

func (c *closing) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Tx is a store bound to a transaction of the user's.
type Tx struct {
	*Store
	of *Store
}

var _ webhook.Tx = (*Tx)(nil)

// WithTx binds the store to a transaction of yours, for Dispatcher.SendTx: what is stored through it
// becomes durable, and is announced to the processes that deliver, when you commit. It must be on the
// store's database. A call that fails leaves the transaction as it was before the call.
func (s *Store) WithTx(tx pgx.Tx) webhook.Tx {
	return s.bind(&borrowed{of: s.src, do: func(ctx context.Context, do func(conn) error) error {
		return pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error { return do(pgxConn{inner}) })
	}})
}

// WithSQLTx is WithTx for database/sql, whatever the driver.
func (s *Store) WithSQLTx(tx *sql.Tx) webhook.Tx {
	c := sqlConn{tx}
	return s.bind(&borrowed{of: s.src, do: func(ctx context.Context, do func(conn) error) error {
		if err := c.run(ctx, &statement{sql: "SAVEPOINT webhook"}); err != nil {
			return err
		}
		err := do(c)
		if err != nil {
			err = errors.Join(err, c.run(context.WithoutCancel(ctx), &statement{sql: "ROLLBACK TO SAVEPOINT webhook"}))
		}
		return errors.Join(err, c.run(context.WithoutCancel(ctx), &statement{sql: "RELEASE SAVEPOINT webhook"}))
	}})
}

func (s *Store) bind(src *borrowed) webhook.Tx {
	b := *s
	b.src, b.bound, b.ring, b.eps, b.handed = src, true, &ring{}, newEndpoints(), &handed{}
	return &Tx{Store: &b, of: s}
}

// Bound returns the store that WithTx was called on.
func (t *Tx) Bound() webhook.Store { return t.of }

// Close does nothing: the transaction is yours.
func (t *Tx) Close() error { return nil }

// borrowed runs everything in the user's transaction; a savepoint makes each call all or nothing.
type borrowed struct {
	of      source
	do      func(context.Context, func(conn) error) error
	checked bool
}

// A statement that fails would spoil the transaction, so reading has a savepoint too.
func (b *borrowed) read(ctx context.Context, do func(conn) error) error { return b.do(ctx, do) }

func (b *borrowed) write(ctx context.Context, do func(conn) ([]*statement, error)) error {
	return b.do(ctx, func(c conn) error {
		last, err := do(c)
		if err == nil && len(last) > 0 {
			err = c.run(ctx, last...)
		}
		return err
	})
}

func (b *borrowed) enter() error { return b.of.enter() }
func (b *borrowed) leave()       { b.of.leave() }
func (b *borrowed) close()       {}
