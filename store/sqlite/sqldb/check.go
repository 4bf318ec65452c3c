package sqldb

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// Check says what is wrong with the database's settings, for Dispatcher.Check. Its codes: sqlite_version,
// sqlite_journal_mode, sqlite_synchronous, sqlite_busy_timeout, sqlite_foreign_leases.
func (s *Store) Check(ctx context.Context) (warnings []webhook.Warning, err error) {
	warn := func(code, format string, args ...any) {
		warnings = append(warnings, webhook.Warning{Code: code, Message: fmt.Sprintf(format, args...)})
	}
	err = s.read(ctx, func(q *session) error {
		var version, mode string
		if _, err := q.one(func(r row) { version = r.str(0) }, `SELECT sqlite_version()`); err != nil {
			return err
		}
		if text := versionProblem(version); text != "" {
			warn("sqlite_version", "SQLite %s %s; use a driver with 3.51.3 or newer, but not 3.53.3", version, text)
		}
		if _, err := q.one(func(r row) { mode = r.str(0) }, `PRAGMA journal_mode`); err != nil {
			return err
		}
		if !strings.EqualFold(mode, "wal") {
			warn("sqlite_journal_mode", "journal_mode is %s: readers block writers and each commit costs more; set PRAGMA journal_mode=WAL", mode)
		}
		full, err := q.int(`PRAGMA synchronous`)
		if err != nil {
			return err
		}
		if full < 2 {
			warn("sqlite_synchronous", "synchronous is %d, below FULL: a power failure loses what Send acknowledged, so sends are refused; "+
				"set PRAGMA synchronous=FULL on every connection", full)
		}
		busy, err := q.int(`PRAGMA busy_timeout`)
		if err != nil {
			return err
		}
		if _, own := s.src.(*pinned); !own && busy < 1000 {
			warn("sqlite_busy_timeout", "busy_timeout is %d ms: your own transactions fail as soon as another connection writes; "+
				"set PRAGMA busy_timeout=10000 on every connection", busy)
		}
		return s.foreignLeases(q, warn)
	})
	return warnings, err
}

// versionProblem knows the versions with bugs that corrupt databases in WAL mode.
func versionProblem(version string) string {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil {
		return "is of an unknown version"
	}
	number := major*1_000_000 + minor*1000 + patch
	if number < 3_051_003 || number == 3_053_003 {
		return "has a bug that can corrupt a database"
	}
	return ""
}

// foreignLeases tells of another process at work on the same database, or of one that died. It looks at
// a bounded number of rows.
func (s *Store) foreignLeases(q *session, warn func(code, format string, args ...any)) error {
	self, err := q.find(s.owners.Name())
	if err != nil {
		return err
	}
	// The clock only words a warning here.
	n, err := q.int(`SELECT count(*) FROM (SELECT owner, next_at FROM webhook_delivery INDEXED BY webhook_delivery_pending
		WHERE state = 0 LIMIT 10000) WHERE owner IS NOT NULL AND owner <> ? AND next_at > ?`, self, time.Now().UnixMicro())
	if err != nil {
		return err
	}
	handed, err := q.handed(`WHERE owner <> ? AND until > ?`, self, time.Now().UnixMicro())
	if err != nil {
		return err
	}
	if handed, err = q.withoutRow(handed); err == nil {
		n += int64(len(handed))
	}
	if err == nil && n > 0 {
		warn("sqlite_foreign_leases", "%d deliveries are leased by other processes: either they run too, or they died and their leases will end", n)
	}
	return err
}
