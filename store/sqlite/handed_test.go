package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/storetest"
)

// The result of a delivery that was handed over is written without reading the row first. What became of
// the row meanwhile, behind this store's back, must count all the same.
func TestHandedOverMeanwhileChanged(t *testing.T) {
	for name, c := range map[string]struct {
		change  string
		applied []bool
		rows    int
	}{
		"nothing":                {`SELECT 1`, []bool{true, true, true}, 3},
		"one is gone":            {`DELETE FROM webhook_delivery WHERE key = (SELECT min(key) FROM webhook_delivery)`, []bool{false, true, true}, 2},
		"the last one is gone":   {`DELETE FROM webhook_delivery WHERE key = (SELECT max(key) FROM webhook_delivery)`, []bool{true, true, false}, 2},
		"all are gone":           {`DELETE FROM webhook_delivery`, []bool{false, false, false}, 0},
		"one is leased anew":     {`UPDATE webhook_delivery SET lease = 2 WHERE key = (SELECT min(key) FROM webhook_delivery)`, []bool{true, true, true}, 3},
		"one ended without them": {`UPDATE webhook_delivery SET state = 4, owner = NULL, next_at = NULL, due_at = NULL, finished_at = 1 WHERE key = (SELECT min(key) FROM webhook_delivery)`, []bool{true, true, true}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			st := open(t, filepath.Join(t.TempDir(), "webhooks.db"))
			m := &maker{t: t, st: st, now: start}
			to := m.endpoint()
			generation := m.generation()
			batch, results := webhook.Batch{Now: m.now}, webhook.Batch{Now: m.now}
			for range 3 {
				g := m.send(generation, to, "owner")
				batch.Sends = append(batch.Sends, g)
				results.Outcomes = append(results.Outcomes, m.success(g.Events[0].Deliveries[0].ID))
			}
			_, err := st.Commit(t.Context(), batch)
			require.NoError(t, err)
			_, err = st.DB().Exec(c.change)
			require.NoError(t, err)
			for range 2 { // a repetition changes nothing
				r, err := st.Commit(t.Context(), results)
				require.NoError(t, err)
				for i := range c.applied {
					require.Equal(t, c.applied[i], r.Outcomes[i].Applied, i)
				}
			}
			rows, succeeded := 0, 0
			require.NoError(t, st.DB().QueryRow(`SELECT count(*), coalesce(sum(state), 0) FROM webhook_delivery`).Scan(&rows, &succeeded))
			require.Equal(t, c.rows, rows)
			require.Equal(t, c.rows, succeeded)
			if name == "nothing" {
				storetest.CheckInvariants(t, st)
			}
		})
	}
}
