package postgres_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, newOpener(t, pgtest.Database(t), 2))
}

func TestStoreModel(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, newOpener(t, pgtest.Database(t), 2))
}

// Each way in which pgx can talk to the server; TestPgBouncer has the others.
func TestExecModes(t *testing.T) {
	modes := []string{"simple_protocol"}
	if _, err := exec.LookPath("pgbouncer"); err != nil {
		modes = append(modes, "exec", "cache_describe")
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, newOpener(t, pgtest.Database(t)+" default_query_exec_mode="+mode, 4))
		})
	}
}

// newOpener opens stores of one database, one after the other, in one schema that is emptied each time: to make a
// schema, and all statements anew for it, takes the server longer than most tests.
func newOpener(t *testing.T, dsn string, connections int32, options ...postgres.Option) func(*testing.T) webhook.Store {
	const schema = "Web Hooks"
	pool := pgtest.Pool(t, dsn, connections)
	options = append(options, postgres.WithSchema(schema))
	return func(t *testing.T) webhook.Store {
		st := open(t, pool, options...)
		_, err := pool.Exec(t.Context(), strings.ReplaceAll(empty, "webhook.", pgx.Identifier{schema}.Sanitize()+"."))
		require.NoError(t, err)
		return st
	}
}

// empty takes everything out of the tables.
const empty = `DELETE FROM webhook.endpoint; DELETE FROM webhook.health; DELETE FROM webhook.event; DELETE FROM webhook.delivery;
	DELETE FROM webhook.queue; DELETE FROM webhook.head; DELETE FROM webhook.note; DELETE FROM webhook.attempt;
	DELETE FROM webhook.stat; DELETE FROM webhook.bulk; DELETE FROM webhook.peer; UPDATE webhook.meta SET generation = 0;
	UPDATE webhook.progress SET pruned_to = 0`

func open(t testing.TB, pool *pgxpool.Pool, options ...postgres.Option) *postgres.Store {
	st, err := postgres.New(t.Context(), pool, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}
