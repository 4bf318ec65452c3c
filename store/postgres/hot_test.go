package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
)

// The update that ends a delivery writes no index: vacuum has nothing to do there, however large they are.
func TestASuccessIsAHOTUpdate(t *testing.T) {
	pool := pgtest.Pool(t, pgtest.Database(t), 2)
	st := open(t, pool)
	m := &maker{t: t, st: st, now: time.Now()}
	endpoint := m.endpoint()
	generation := m.generation()
	for range 20 {
		sends, results := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}
		for range 50 {
			g := m.send(generation, endpoint, "me")
			sends.Sends = append(sends.Sends, g)
			results.Outcomes = append(results.Outcomes, m.success(g.Events[0].Deliveries[0].ID))
		}
		for _, b := range []webhook.Batch{sends, results} {
			_, err := st.Commit(t.Context(), b)
			require.NoError(t, err)
		}
	}
	var updates, hot int
	require.Eventually(t, func() bool { // the server tells after a while
		_, err := st.Stats(t.Context(), m.now, webhook.StatsQuery{})
		require.NoError(t, err)
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
			WHERE schemaname = 'webhook' AND relname = 'delivery'`).Scan(&updates, &hot))
		return updates == 1000
	}, 10*time.Second, 100*time.Millisecond)
	require.GreaterOrEqual(t, hot, 950, "of 1,000")
}
