package sqldb

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// steps are the migrations in order: step i leads to schema version i+1. A published one never changes.
var steps = []string{"migrations/0001.sql"}

// applicationID marks files of our own in the header of the database: "wbhk".
const applicationID = 0x7762686b

// configure sets up a connection of our own.
func configure(ctx context.Context, c conn) error {
	for _, pragma := range []string{
		fmt.Sprintf(`PRAGMA busy_timeout = %d`, busyStep),
		`PRAGMA synchronous = FULL`,
		`PRAGMA cache_size = -4000`, // 4 MB: a larger one costs more than it saves
		`PRAGMA temp_store = MEMORY`,
		fmt.Sprintf(`PRAGMA wal_autocheckpoint = %d`, walMost),
		fmt.Sprintf(`PRAGMA journal_size_limit = %d`, walKept),
	} {
		if err := pragmaSet(ctx, c, pragma); err != nil {
			return err
		}
	}
	return nil
}

// pragmaSet runs a pragma that may answer with a row.
func pragmaSet(ctx context.Context, c conn, pragma string) error {
	return c.query(ctx, pragma, nil, func(row) error { return nil })
}

func pragmaInt(ctx context.Context, c conn, pragma string) (v int64, err error) {
	err = c.query(ctx, pragma, nil, func(r row) error {
		v = r.int(0)
		return nil
	})
	return v, err
}

var errNotOurs = errors.New("sqlite: the database belongs to something else; give Open a file of its own, " +
	"or share this one with New")

// claimFile makes a new file ours and refuses a foreign one before anything in it is changed.
func claimFile(ctx context.Context, c conn) error {
	id, err := pragmaInt(ctx, c, `PRAGMA application_id`)
	if err != nil {
		return err
	}
	tables, err := pragmaInt(ctx, c, `SELECT count(*) FROM sqlite_schema`)
	if err != nil {
		return err
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return errNotOurs
	}
	if tables == 0 {
		// Both must precede the first table.
		if err := pragmaSet(ctx, c, `PRAGMA auto_vacuum = INCREMENTAL`); err != nil {
			return err
		}
	}
	mode := ""
	err = c.query(ctx, `PRAGMA journal_mode = WAL`, nil, func(r row) error {
		mode = r.str(0)
		return nil
	})
	if err == nil && !strings.EqualFold(mode, "wal") {
		err = fmt.Errorf("sqlite: cannot use WAL, journal_mode stays %q; put the file on a local disk", mode)
	}
	return err
}

// prepare makes the database as this program needs it.
func (q *session) prepare(own bool, opts []Option) error {
	if err := q.migrate(own); err != nil {
		return err
	}
	return q.indexAttributes(optionsOf(opts))
}

// migrate brings the schema up to date in one transaction.
func (q *session) migrate(own bool) error {
	version := 0
	known := false
	if _, err := q.one(func(row) { known = true },
		`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'webhook_migration'`); err != nil {
		return err
	}
	if known {
		v, err := q.int(`SELECT max(version) FROM webhook_migration`)
		if err != nil {
			return err
		}
		version = int(v)
	}
	if version > len(steps) {
		return fmt.Errorf("the database has schema version %d and this program knows %d: "+
			"a newer one wrote it, upgrade this program", version, len(steps))
	}
	if version == 0 {
		if err := q.exec(`CREATE TABLE IF NOT EXISTS webhook_migration (version INTEGER PRIMARY KEY) STRICT`); err != nil {
			return err
		}
		if own {
			if err := q.exec(fmt.Sprintf(`PRAGMA application_id = %d`, applicationID)); err != nil {
				return err
			}
		}
	}
	for i := version; i < len(steps); i++ {
		if err := q.migrateTo(i + 1); err != nil {
			return fmt.Errorf("migration to schema version %d: %w", i+1, err)
		}
	}
	return nil
}

func (q *session) migrateTo(version int) error {
	text, err := migrations.ReadFile(steps[version-1])
	if err != nil {
		return err
	}
	for _, statement := range statements(string(text)) {
		if err := q.exec(statement); err != nil {
			return err
		}
	}
	return q.exec(`INSERT INTO webhook_migration (version) VALUES (?)`, int64(version))
}

// statements splits a migration. Migrations have no semicolon inside a statement, save in comments,
// which are taken out first.
func statements(script string) []string {
	var text strings.Builder
	for line := range strings.Lines(script) {
		if at := strings.Index(line, "--"); at >= 0 {
			line = line[:at] + "\n"
		}
		text.WriteString(line)
	}
	var all []string
	for s := range strings.SplitSeq(text.String(), ";") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	return all
}
