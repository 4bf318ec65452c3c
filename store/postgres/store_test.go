package postgres_test

import (
	"fmt"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, newOpener(t, "", 2))
}

func TestStoreModel(t *testing.T) {
	t.Parallel()
	storetest.RunModel(t, newOpener(t, "", 2))
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
			storetest.Run(t, newOpener(t, " default_query_exec_mode="+mode, 4))
		})
	}
}

var schemas atomic.Int64

// newOpener opens stores in one database, each in a schema of its own: that is quicker than a database each.
func newOpener(t *testing.T, settings string, connections int32) func(*testing.T) webhook.Store {
	pool := pgtest.Pool(t, pgtest.Database(t)+settings, connections)
	return func(t *testing.T) webhook.Store {
		return open(t, pool, postgres.WithSchema(fmt.Sprintf("W %d", schemas.Add(1))))
	}
}

func open(t testing.TB, pool *pgxpool.Pool, options ...postgres.Option) *postgres.Store {
	st, err := postgres.New(t.Context(), pool, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}
