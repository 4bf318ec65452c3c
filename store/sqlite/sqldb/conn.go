package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"
)

// conn is what all SQL of this package runs against. scan must not use the conn.
type conn interface {
	exec(ctx context.Context, query string, args []any) (driver.Result, error)
	query(ctx context.Context, query string, args []any, scan func(row) error) error
}

// errStop ends a query early, without an error.
var errStop = errors.New("stop")

// row holds the columns of one result row: nil, int64, float64, string or []byte.
type row []driver.Value

func (r row) null(i int) bool { return r[i] == nil }

func (r row) int(i int) int64 {
	switch v := r[i].(type) {
	case int64:
		return v
	case bool: // some drivers take declared types seriously
		if v {
			return 1
		}
	}
	return 0
}

func (r row) str(i int) string {
	switch v := r[i].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (r row) bytes(i int) []byte {
	switch v := r[i].(type) {
	case []byte:
		if v == nil { // an empty blob, as some drivers read it
			return []byte{}
		}
		return v
	case string:
		return []byte(v)
	}
	return nil
}

func (r row) time(i int) time.Time {
	if r[i] == nil {
		return time.Time{}
	}
	return fromMicro(r.int(i))
}

func (r row) timePtr(i int) *time.Time {
	if r[i] == nil {
		return nil
	}
	t := fromMicro(r.int(i))
	return &t
}

func fromMicro(us int64) time.Time { return time.UnixMicro(us).UTC() }

// micro is the column of a time that may be zero.
func micro(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func microPtr(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UnixMicro()
}

// sqlConn runs on a connection or transaction of database/sql.
type sqlConn struct {
	db interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	}
}

func (c sqlConn) exec(ctx context.Context, query string, args []any) (driver.Result, error) {
	return c.db.ExecContext(ctx, query, args...)
}

func (c sqlConn) query(ctx context.Context, query string, args []any, scan func(row) error) (err error) {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	cols, err := rows.Columns()
	if err != nil {
		return err
	}
	into := make([]any, len(cols))
	r := make(row, len(cols))
	for i := range into {
		into[i] = (*any)(&r[i])
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := scan(r); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
	return rows.Err()
}

// maxStatements bounds what a pinnedConn keeps prepared; lists have many forms.
const maxStatements = 400

// pinnedConn runs on a driver's connection below database/sql and keeps its statements. One goroutine
// uses it at a time.
type pinnedConn struct {
	driver   driver.Conn
	survives durability // what its next commit does
	stmts    map[string]driver.Stmt
	named    []driver.NamedValue
	dest     []driver.Value
}

func newPinnedConn(c driver.Conn) *pinnedConn {
	return &pinnedConn{driver: c, stmts: map[string]driver.Stmt{}}
}

func (c *pinnedConn) close() error {
	c.dropStatements()
	return c.driver.Close()
}

func (c *pinnedConn) dropStatements() {
	for _, s := range c.stmts {
		_ = s.Close() // only frees memory
	}
	clear(c.stmts)
}

// survive sets what the next transaction survives. A new connection is at FULL, see configure.
func (c *pinnedConn) survive(ctx context.Context, d durability) error {
	if c.survives == d {
		return nil
	}
	set := map[durability]string{powerLoss: `PRAGMA synchronous = FULL`, processDeath: `PRAGMA synchronous = NORMAL`}[d]
	if _, err := c.exec(context.WithoutCancel(ctx), set, nil); err != nil {
		return err
	}
	c.survives = d
	return nil
}

func (c *pinnedConn) prepare(ctx context.Context, query string) (driver.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	if len(c.stmts) >= maxStatements {
		c.dropStatements()
	}
	var s driver.Stmt
	var err error
	if p, ok := c.driver.(driver.ConnPrepareContext); ok {
		s, err = p.PrepareContext(ctx, query)
	} else {
		s, err = c.driver.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s
	return s, nil
}

func (c *pinnedConn) bind(args []any) []driver.NamedValue {
	for len(c.named) < len(args) {
		c.named = append(c.named, driver.NamedValue{Ordinal: len(c.named) + 1})
	}
	named := c.named[:len(args)]
	for i, a := range args {
		named[i].Value = a
	}
	return named
}

func (c *pinnedConn) exec(ctx context.Context, query string, args []any) (driver.Result, error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	e, ok := s.(driver.StmtExecContext)
	if !ok {
		return nil, fmt.Errorf("the driver's %T lacks ExecContext", s)
	}
	return e.ExecContext(ctx, c.bind(args))
}

func (c *pinnedConn) query(ctx context.Context, query string, args []any, scan func(row) error) (err error) {
	s, err := c.prepare(ctx, query)
	if err != nil {
		return err
	}
	q, ok := s.(driver.StmtQueryContext)
	if !ok {
		return fmt.Errorf("the driver's %T lacks QueryContext", s)
	}
	rows, err := q.QueryContext(ctx, c.bind(args))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := len(rows.Columns())
	for len(c.dest) < n {
		c.dest = append(c.dest, nil)
	}
	dest := c.dest[:n]
	for {
		if err := rows.Next(dest); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := scan(row(dest)); err != nil {
			if errors.Is(err, errStop) {
				return nil
			}
			return err
		}
	}
}
