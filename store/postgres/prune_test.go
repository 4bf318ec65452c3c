package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/pgtest"
)

// The first attempt of a delivery that waited has an old ID. One that is being stored while Prune takes the details off
// those around it is met by the next Prune.
func TestPruneMeetsWhatIsBeingStored(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 4)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	generation := m.generation()
	send := func() string {
		g := m.send(generation, endpoint, "me")
		_, err := st.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{g}})
		require.NoError(t, err)
		return g.Events[0].Deliveries[0].ID
	}
	succeed := func(deliveryID string) error {
		o := m.success(deliveryID)
		o.Attempt.ID = id.Attempt + deliveryID[len(id.Delivery):]
		_, err := st.Commit(t.Context(), webhook.Batch{Now: m.now, Outcomes: []webhook.Outcome{o}})
		return err
	}
	prune := func(after time.Duration) int {
		now := m.now.Add(after)
		out, err := st.Prune(t.Context(), webhook.PruneRequest{Now: now, DetailBefore: now, Limit: 100})
		require.NoError(t, err)
		return out.Details
	}
	late, other := send(), send()
	m.now = m.now.Add(time.Hour)
	require.NoError(t, succeed(other))

	// The last that a commit does is to count.
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM webhook.stat WHERE endpoint = 0 FOR UPDATE`)
	require.NoError(t, err)
	stored := make(chan error, 1)
	go func() { stored <- succeed(late) }()
	require.Eventually(t, func() (waits bool) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits))
		return waits
	}, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, prune(time.Hour))
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-stored)
	require.Equal(t, 1, prune(2*time.Hour))
	require.Equal(t, 0, prune(3*time.Hour))
	var prunedTo int64
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT pruned_to FROM webhook.progress`).Scan(&prunedTo))
	require.Positive(t, prunedTo, "each Prune goes over all")
}
