package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the SQL that [New] runs, for those who keep their schemas with goose, Atlas or the like: one
// file for each version, in order, for the schema "webhook". For another schema replace "webhook." and the
// name in CREATE SCHEMA. The files note in webhook.migration what they did, so New finds nothing left to do.
var Migrations fs.FS = subdirectory(files, "migrations")

func subdirectory(f fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // only for a name that is none
	}
	return sub
}

// steps are the migrations in order: step i leads to schema version i+1. A published one never changes.
var steps = []string{"0001_webhook.sql"}

// migrate brings the schema up to date. Without need it writes nothing, so that a role without the right
// to create tables may run it.
func (s *Store) migrate(ctx context.Context) error {
	version := 0
	err := s.read(ctx, func(q *session) (err error) {
		version, err = q.version()
		return err
	})
	if err != nil || version == len(steps) {
		return err
	}
	if version > len(steps) {
		return newerSchema(version)
	}
	return s.write(ctx, func(q *session) error {
		if err := q.exec(`SELECT pg_advisory_xact_lock($1)`, s.lockKey("migrate")); err != nil {
			return err
		}
		version, err := q.version()
		if err != nil {
			return err
		}
		if version > len(steps) {
			return newerSchema(version)
		}
		for i := version; i < len(steps); i++ {
			if err := q.migrateTo(i + 1); err != nil {
				return fmt.Errorf("migration to schema version %d: %w", i+1, err)
			}
		}
		return nil
	})
}

func newerSchema(version int) error {
	return fmt.Errorf("the database has schema version %d and this program knows %d: "+
		"a newer one wrote it, upgrade this program", version, len(steps))
}

func (q *session) version() (int, error) {
	known, err := q.int(`SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = 'migration'`, q.s.schema)
	if err != nil || known == 0 {
		return 0, err
	}
	v, err := q.int(`SELECT coalesce(max(version), 0) FROM webhook.migration`)
	return int(v), err
}

func (q *session) migrateTo(version int) error {
	script, err := fs.ReadFile(Migrations, steps[version-1])
	if err != nil {
		return err
	}
	for _, statement := range statements(string(script)) {
		if err := q.exec(statement); err != nil {
			return err
		}
	}
	return nil
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
