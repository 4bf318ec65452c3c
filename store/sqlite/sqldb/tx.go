package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/outhook/webhook"
)

// identity tells a store's database, file and SQLite library from others.
type identity struct {
	instance, file, source string
}

// Tx is a store bound to a transaction of the user's.
type Tx struct {
	*Store
	of *Store
}

var _ webhook.Tx = (*Tx)(nil)

// WithTx binds the store to a transaction of yours, for Dispatcher.SendTx: what is stored through it
// becomes durable when you commit. The transaction must be on the store's own database and library
// (begin it on [Store.DB], or on the database given to [New]) with synchronous at FULL; otherwise
// every call on the result is refused.
func (s *Store) WithTx(tx *sql.Tx) webhook.Tx {
	b := &Store{
		src: &userTx{tx: tx, of: s}, db: s.db, id: s.id, bound: true, names: s.names, eps: newEndpoints(),
		tenants: s.tenants, handed: &handed{}, ring: &ring{}, busy: &atomic.Bool{}, owners: s.owners, checkTx: s.id.check,
	}
	return &Tx{Store: b, of: s}
}

// Bound returns the store that WithTx was called on.
func (t *Tx) Bound() webhook.Store { return t.of }

// Close does nothing: the transaction is yours.
func (t *Tx) Close() error { return nil }

// userTx runs everything in the user's transaction; a savepoint makes each call all or nothing.
type userTx struct {
	tx *sql.Tx
	of *Store
}

func (t *userTx) read(ctx context.Context, do func(conn) error) error {
	return do(sqlConn{t.tx})
}

func (t *userTx) write(ctx context.Context, _ durability, do func(conn) error) error {
	c := sqlConn{t.tx}
	if _, err := c.exec(ctx, `SAVEPOINT webhook`, nil); err != nil {
		return err
	}
	err := inTime(do(c))
	run := context.WithoutCancel(ctx)
	if err != nil {
		if _, e := c.exec(run, `ROLLBACK TO webhook`, nil); e != nil {
			return errors.Join(err, e)
		}
	}
	if _, e := c.exec(run, `RELEASE webhook`, nil); e != nil {
		return errors.Join(err, e)
	}
	return err
}

func (t *userTx) close() error { return nil }

// inTime explains a busy error in a transaction that was not begun for writing: waiting cannot help it.
func inTime(err error) error {
	if err == nil || ours(err) || code(err) != codeBusy {
		return err
	}
	return fmt.Errorf("the transaction began without the write lock, and another one writes: "+
		"begin it IMMEDIATE, by _txlock=immediate in the DSN, with _pragma=busy_timeout(10000) "+
		"(mattn/go-sqlite3: _busy_timeout=10000): %w", err)
}

// identify learns what WithTx compares a transaction with.
func (s *Store) identify(ctx context.Context) error {
	return s.read(ctx, func(q *session) (err error) {
		s.id, err = identityOf(q.run, q.c)
		return err
	})
}

func identityOf(ctx context.Context, c conn) (id identity, err error) {
	err = c.query(ctx, `SELECT sqlite_source_id()`, nil, func(r row) error {
		id.source = r.str(0)
		return nil
	})
	if err != nil {
		return id, err
	}
	err = c.query(ctx, `PRAGMA database_list`, nil, func(r row) error {
		if r.str(1) == "main" {
			id.file = r.str(2)
		}
		return nil
	})
	if err != nil {
		return id, err
	}
	err = c.query(ctx, `SELECT value FROM main.webhook_meta WHERE name = 'instance'`, nil, func(r row) error {
		id.instance = r.str(0)
		return nil
	})
	return id, err
}

func (id identity) check(ctx context.Context, c conn) error {
	got, err := identityOf(ctx, c)
	switch {
	case got.source == "" && err != nil:
		return err
	case got.source != id.source:
		return fmt.Errorf("sqlite: the transaction runs on another SQLite library (%.20s) than the store (%.20s): "+
			"two of them on one file corrupt it; begin it on Store.DB(), or make the store with New on your database",
			got.source, id.source)
	case !sameFile(got.file, id.file) || err == nil && got.instance != id.instance:
		return fmt.Errorf("sqlite: the transaction is on %q and the store on %q; begin it on Store.DB()", got.file, id.file)
	case err != nil:
		return err
	}
	if err := mustBeFull(ctx, c); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	return nil
}

func sameFile(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
