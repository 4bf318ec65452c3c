package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

const (
	busyTimeout = 10 * time.Second // how long to wait for another's write transaction, in all
	busyStep    = 100              // milliseconds SQLite waits before the context is looked at again
	readers     = 4
)

// begin starts a write transaction. It waits for the lock in small steps, so that ctx is respected.
func begin(ctx context.Context, c conn) error {
	run := context.WithoutCancel(ctx)
	started := time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := c.exec(run, `BEGIN IMMEDIATE`, nil)
		if err == nil || code(err) != codeBusy || time.Since(started) > busyTimeout {
			return err
		}
		// A driver without a busy timeout of its own would spin here.
		pause := time.NewTimer(2 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// transact runs do between begin and commit. broken means that the connection is still in the
// transaction and must be thrown away.
func transact(ctx context.Context, c conn, start func() error, do func(conn) error) (broken bool, err error) {
	if err := start(); err != nil {
		return false, err
	}
	run := context.WithoutCancel(ctx)
	done := false
	rollback := func() {
		if _, e := c.exec(run, `ROLLBACK`, nil); e != nil {
			// A full disk and the like make SQLite roll back by itself.
			_, e = c.exec(run, `BEGIN`, nil)
			if e == nil {
				_, e = c.exec(run, `ROLLBACK`, nil)
			}
			broken = e != nil
		}
	}
	defer func() {
		if !done { // do panicked
			rollback()
		}
	}()
	err = do(c)
	if err == nil {
		_, err = c.exec(run, `COMMIT`, nil)
	}
	if err != nil {
		rollback()
	}
	done = true
	return broken, err
}

// pool takes connections from a user's database.
type pool struct {
	db *sql.DB
	closing
}

func (p *pool) read(ctx context.Context, do func(conn) error) error {
	return p.with(ctx, func(c conn) (bool, error) {
		return transact(ctx, c, func() error {
			_, err := c.exec(ctx, `BEGIN`, nil)
			return err
		}, do)
	})
}

// write leaves synchronous as it is: the connections are the user's.
func (p *pool) write(ctx context.Context, _ durability, do func(conn) error) error {
	return p.with(ctx, func(c conn) (bool, error) {
		if err := mustBeFull(ctx, c); err != nil {
			return false, err
		}
		return transact(ctx, c, func() error { return begin(ctx, c) }, do)
	})
}

func (p *pool) with(ctx context.Context, do func(conn) (broken bool, err error)) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.leave()
	c, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	broken, err := do(sqlConn{c})
	if broken {
		_ = c.Raw(func(any) error { return driver.ErrBadConn }) // the pool drops it
	}
	return errors.Join(err, ignoreDone(c.Close()))
}

// ignoreDone drops the complaint that a connection thrown away was closed already.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrConnDone) || errors.Is(err, driver.ErrBadConn) {
		return nil
	}
	return err
}

func (p *pool) close() error {
	p.shut()
	return nil
}

// mustBeFull refuses a connection whose commits may be lost when the power goes.
func mustBeFull(ctx context.Context, c conn) error {
	level := int64(-1)
	err := c.query(ctx, `PRAGMA synchronous`, nil, func(r row) error {
		level = r.int(0)
		return nil
	})
	if err == nil && level < 2 {
		err = fmt.Errorf("synchronous is %d, below FULL: a power failure would lose what Send reported as stored; "+
			"set PRAGMA synchronous=FULL on every connection of this database", level)
	}
	return err
}

// pinned owns its connections: one for writing, and up to four for reading.
type pinned struct {
	connector driver.Connector
	writer    chan *pinnedConn // holds the writer while nobody writes
	reader    chan *pinnedConn // holds idle readers; nil stands for one not opened yet
	closing
}

func openPinned(ctx context.Context, connector driver.Connector) (*pinned, error) {
	p := &pinned{
		connector: connector,
		writer:    make(chan *pinnedConn, 1),
		reader:    make(chan *pinnedConn, readers),
	}
	c, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := claimFile(ctx, c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	p.writer <- c
	for range readers {
		p.reader <- nil
	}
	return p, nil
}

func (p *pinned) connect(ctx context.Context) (*pinnedConn, error) {
	d, err := p.connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c := newPinnedConn(d)
	if err := configure(ctx, c); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (p *pinned) read(ctx context.Context, do func(conn) error) error {
	return p.borrow(ctx, func(c conn) (broken bool, err error) {
		return transact(ctx, c, func() error {
			_, err := c.exec(context.WithoutCancel(ctx), `BEGIN`, nil)
			return err
		}, do)
	})
}

// borrow lends a reader, outside of any transaction.
func (p *pinned) borrow(ctx context.Context, do func(conn) (broken bool, err error)) error {
	return p.lend(ctx, p.reader, func(c *pinnedConn) (bool, error) { return do(c) })
}

func (p *pinned) write(ctx context.Context, survives durability, do func(conn) error) error {
	return p.lend(ctx, p.writer, func(c *pinnedConn) (broken bool, err error) {
		if err := c.survive(ctx, survives); err != nil {
			return true, err // nobody knows its level
		}
		return transact(ctx, c, func() error { return begin(ctx, c) }, do)
	})
}

// outside runs do on the writer without a transaction, for pragmas.
func (p *pinned) outside(ctx context.Context, do func(conn) error) error {
	return p.lend(ctx, p.writer, func(c *pinnedConn) (broken bool, err error) {
		if err := c.survive(ctx, powerLoss); err != nil {
			return true, err
		}
		return false, do(c)
	})
}

// lend takes a connection from where idle ones wait and opens it if need be. One that is broken, or that
// do left by a panic, is closed; the next call opens another.
func (p *pinned) lend(ctx context.Context, idle chan *pinnedConn, do func(*pinnedConn) (broken bool, err error)) (err error) {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.leave()
	var c *pinnedConn
	select {
	case c = <-idle:
	case <-ctx.Done():
		return ctx.Err()
	}
	broken := true
	defer func() {
		if broken && c != nil {
			_ = c.close()
			c = nil
		}
		idle <- c
	}()
	if c == nil {
		if c, err = p.connect(ctx); err != nil {
			return err
		}
	}
	broken, err = do(c)
	return err
}

func (p *pinned) close() error {
	if !p.shut() {
		return nil
	}
	var err error
	for range readers {
		if c := <-p.reader; c != nil {
			err = errors.Join(err, c.close())
		}
	}
	// The writer goes last: it folds the WAL back into the file.
	if c := <-p.writer; c != nil {
		err = errors.Join(err, c.close())
	}
	return explain(err)
}
