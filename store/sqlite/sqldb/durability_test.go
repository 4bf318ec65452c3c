package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// witness holds every write transaction to the level that it asks for.
type witness struct {
	source
	t     *testing.T
	seen  map[durability]int
	claim error // what the next claim fails with
}

func (w *witness) write(ctx context.Context, d durability, do func(conn) error) error {
	return w.source.write(ctx, d, func(c conn) error {
		level, err := pragmaInt(ctx, c, `PRAGMA synchronous`)
		require.NoError(w.t, err)
		require.Equal(w.t, map[durability]int64{powerLoss: 2, processDeath: 1}[d], level)
		w.seen[d]++
		if err := do(c); err != nil {
			return err
		}
		if d == processDeath {
			return w.claim
		}
		return nil
	})
}

// Only a claim's transaction may go unsynced: whatever comes after it, even if it failed, is at FULL.
func TestOnlyClaimsSurviveLess(t *testing.T) {
	st := openPinnedStore(t)
	w := &witness{source: st.src, t: t, seen: map[durability]int{}}
	st.src = w
	defer func() { st.src = w.source }()
	claims := exercise(t, st, false)
	require.Equal(t, claims, w.seen[processDeath])

	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var ids id.Generator
	row, err := st.CreateEndpoint(t.Context(), webhook.EndpointRow{
		ID: ids.New(id.Endpoint, now), State: webhook.EndpointEnabled, URL: "https://example.com",
	})
	require.NoError(t, err)
	for i := range 3 {
		_, err = st.Commit(t.Context(), webhook.Batch{Now: now, Sends: []webhook.SendGroup{{
			Generation: row.Generation, Events: []webhook.NewEvent{{
				Event:      webhook.Event{ID: ids.New(id.Event, now), Type: "a.b", CreatedAt: now},
				Deliveries: []webhook.NewDelivery{{ID: ids.New(id.Delivery, now), EndpointID: row.ID, DueAt: now}},
			}},
		}}})
		require.NoError(t, err)
		w.claim = nil
		if i == 1 {
			w.claim = errors.New("failed")
		}
		claims, err := st.Claim(t.Context(), webhook.ClaimRequest{
			Now: now, LeaseUntil: now.Add(time.Minute), Limit: 10, PerEndpoint: 8, Owner: "o",
		})
		require.ErrorIs(t, err, w.claim)
		require.Len(t, claims.Claims, []int{1, 0, 2}[i])
	}
	require.Equal(t, claims+3, w.seen[processDeath])
}

func openPinnedStore(t *testing.T) *Store {
	connector, err := sqlite.NewConnector("file:" + filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	st, err := Open(connector, db)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// A pragma may act as it is compiled. SQLite lets it run only once, so that a statement that is kept is
// compiled again and works as often as it is run.
func TestPragmasWorkAgain(t *testing.T) {
	st := openPinnedStore(t)
	for range 3 {
		for _, value := range []int64{1, 0} {
			require.NoError(t, st.write(t.Context(), func(q *session) error {
				require.NoError(t, pragmaSet(q.run, q.c, fmt.Sprintf(`PRAGMA secure_delete = %d`, value)))
				got, err := pragmaInt(q.run, q.c, `PRAGMA secure_delete`)
				require.Equal(t, value, got)
				return err
			}))
		}
	}
}
