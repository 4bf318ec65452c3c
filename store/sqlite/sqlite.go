// Package sqlite keeps webhooks in a SQLite database, through modernc.org/sqlite: no cgo, one file.
//
//	st, err := sqlite.Open("webhooks.db")
//
// # Files and disk
//
// Open makes the -wal file 16 MB long at once, if the disk has room, so that commits overwrite it instead
// of extending it. While a dispatcher runs, what was committed is moved to the database file every second,
// beside the commits; without one, a commit does so when the -wal file has 32 MB. A file that grew beyond
// 64 MB, under a reader that took long, is cut back.
//
// # One library
//
// A process must open a file through one SQLite library only; two of them on one file corrupt it. A
// program that has another driver already uses package sqldb below this one, which imports none.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/outhook/webhook/store/sqlite/sqldb"
)

// Store is a [webhook.Store] in a SQLite database. It is safe for concurrent use.
type Store = sqldb.Store

// Option changes how a store is opened.
type Option = sqldb.Option

// IndexAttributes lets lists of deliveries find events by the values of these attributes, see
// [sqldb.IndexAttributes].
func IndexAttributes(keys ...string) Option { return sqldb.IndexAttributes(keys...) }

// New returns a store in your own database, opened with modernc.org/sqlite. Its tables begin with
// webhook_. See [sqldb.New].
func New(db *sql.DB, opts ...Option) (*Store, error) { return sqldb.New(db, opts...) }

// Open opens a database file for this library alone and creates it if it is missing, readable and
// writable for its owner only. It uses WAL and synchronous=FULL: what is stored survives a power
// failure. The directory must exist and be writable, for the -wal and -shm files beside it. Close it
// when the dispatcher has ended.
func Open(path string, opts ...Option) (*Store, error) {
	path, err := prepare(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path)}).String()
	own, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	// The user's transactions take the write lock when they begin, or one that read first could fail
	// in the middle.
	users, err := sqlite.NewConnector(dsn + "?_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	db := sql.OpenDB(durable{users})
	st, err := sqldb.Open(own, db, opts...)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	owners, err := newOwners(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %w", err), st.Close())
	}
	st.UseOwners(owners)
	return st, nil
}

// durable sets up each connection of Store.DB.
type durable struct{ driver.Connector }

func (d durable) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := d.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, pragma := range []string{`PRAGMA busy_timeout = 10000`, `PRAGMA synchronous = FULL`} {
		if _, err := c.(driver.ExecerContext).ExecContext(ctx, pragma, nil); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// prepare says what is wrong with a path, better than SQLite could, and creates the file.
func prepare(path string) (string, error) {
	if path == "" || path == ":memory:" {
		return "", errors.New("Open needs the path of a file; for a store without one use package memory")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := os.Stat(filepath.Dir(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the directory of %s does not exist; create it first", path)
	case err != nil:
		return "", err
	case dir.Mode().Perm()&0o222 == 0:
		return "", fmt.Errorf("the directory of %s is read-only; SQLite writes files of its own beside the database", path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%s is not writable for this process: %w", path, err)
	}
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o222 == 0 {
		return "", fmt.Errorf("%s is read-only; make it writable", path)
	}
	return path, nil
}
