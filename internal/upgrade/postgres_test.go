package upgrade_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
)

func TestPostgresOpensWhatTheFirstVersionStored(t *testing.T) {
	if *update {
		writePostgres(t)
	}
	dsn := pgtest.Database(t)
	restore(t, dsn, testdata(t, "v0.1.0.sql"))
	holds(t, open(t, dsn), testdata(t, "v0.1.0.sql.json"))
}

func open(t *testing.T, dsn string) *postgres.Store {
	st, err := postgres.New(t.Context(), pgtest.Pool(t, dsn, 8))
	require.NoError(t, err)
	return st
}

func writePostgres(t *testing.T) {
	dsn := pgtest.Database(t)
	keep(t, "v0.1.0.sql.json", encode(t, fill(t, open(t, dsn))))
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	require.NoError(t, err)
	program := "pg_dump"
	if len(programs) > 0 {
		program = programs[len(programs)-1]
	}
	dump, err := exec.Command(program, "--inserts", "--no-owner", "--no-privileges", "--dbname", dsn).Output()
	require.NoError(t, err)
	// Commands of psql, and settings that another version of the server may not know.
	keep(t, "v0.1.0.sql", regexp.MustCompile(`(?m)^(\\.*|--.*|SET .*|)\n`).ReplaceAll(dump, nil))
}

func restore(t *testing.T, dsn string, dump []byte) {
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.PgConn().Exec(t.Context(), string(dump)).ReadAll()
	require.NoError(t, err)
}
