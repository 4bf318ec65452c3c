package sqlite_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/store/storetest"
)

func TestReopeningKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	st := open(t, path)
	m := &maker{t: t, st: st, now: start}
	endpoint := m.endpoint()
	sent := m.send(m.generation(), endpoint, "")
	_, err := st.Commit(t.Context(), webhook.Batch{Now: start, Sends: []webhook.SendGroup{sent}})
	require.NoError(t, err)
	before, err := st.GetDelivery(t.Context(), start, sent.Events[0].Deliveries[0].ID)
	require.NoError(t, err)
	require.NoError(t, st.Close())
	_, err = st.GetEvent(t.Context(), sent.Events[0].Event.ID)
	require.ErrorIs(t, err, webhook.ErrClosed)

	st = open(t, path)
	after, err := st.GetDelivery(t.Context(), start, before.ID)
	require.NoError(t, err)
	require.Equal(t, before, after)
	ev, err := st.GetEvent(t.Context(), sent.Events[0].Event.ID)
	require.NoError(t, err)
	require.Equal(t, payload, ev.Payload)
	storetest.CheckInvariants(t, st)
}

func TestOpenMakesFilesForTheOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "odd name?%20#.db")
	st := open(t, path)
	(&maker{t: t, st: st, now: start}).endpoint()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
	}
}

func TestOpenRefuses(t *testing.T) {
	made := func(t *testing.T, statements ...string) string {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := sql.Open("sqlite", path)
		require.NoError(t, err)
		for _, s := range statements {
			_, err := db.Exec(s)
			require.NoError(t, err)
		}
		require.NoError(t, db.Close())
		return path
	}
	for name, c := range map[string]struct {
		path func(t *testing.T) string
		says string
	}{
		"no path":       {func(t *testing.T) string { return "" }, "path of a file"},
		"memory":        {func(t *testing.T) string { return ":memory:" }, "package memory"},
		"no directory":  {func(t *testing.T) string { return filepath.Join(t.TempDir(), "no", "x.db") }, "create it first"},
		"a directory":   {func(t *testing.T) string { return t.TempDir() }, "directory"},
		"a foreign one": {func(t *testing.T) string { return made(t, `CREATE TABLE users (id)`) }, "belongs to something else"},
		"a marked one":  {func(t *testing.T) string { return made(t, `PRAGMA application_id = 7`) }, "belongs to something else"},
		"not a database": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "x.db")
			require.NoError(t, os.WriteFile(path, []byte("Dear diary, today I wrote a file that is no database at all. It went well."), 0o600))
			return path
		}, "not a SQLite database"},
		"a read-only file": {func(t *testing.T) string {
			path := made(t)
			require.NoError(t, os.WriteFile(path, nil, 0o400))
			require.NoError(t, os.Chmod(path, 0o400))
			return path
		}, "writable"},
		"a read-only directory": {func(t *testing.T) string {
			path := made(t, `CREATE TABLE x (y)`)
			require.NoError(t, os.Chmod(filepath.Dir(path), 0o500))
			t.Cleanup(func() { _ = os.Chmod(filepath.Dir(path), 0o700) })
			return path
		}, "read-only"},
		"a newer one": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "x.db")
			st, err := sqlite.Open(path)
			require.NoError(t, err)
			_, err = st.DB().Exec(`INSERT INTO webhook_migration VALUES (1000)`)
			require.NoError(t, err)
			require.NoError(t, st.Close())
			return path
		}, "upgrade this program"},
	} {
		t.Run(name, func(t *testing.T) {
			path := c.path(t)
			_, err := sqlite.Open(path)
			require.ErrorContains(t, err, c.says)
		})
	}
}

func TestForeignDatabaseStaysAsItWas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec(`CREATE TABLE users (id)`)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	_, err = sqlite.Open(path)
	require.Error(t, err)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestNewRefusesToLoseData(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db")+"?_pragma=synchronous(NORMAL)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = sqlite.New(db)
	require.ErrorContains(t, err, "below FULL")
}

func TestWithTx(t *testing.T) {
	for name, opener := range map[string]func(*testing.T) webhook.Store{"opened": opened, "user's": inUsersDatabase} {
		t.Run(name, func(t *testing.T) {
			st := opener(t).(*sqlite.Store)
			m := &maker{t: t, st: st, now: start}
			endpoint := m.endpoint()
			for _, keep := range []bool{false, true} {
				sent := m.send(m.generation(), endpoint, "")
				tx, err := st.DB().BeginTx(t.Context(), nil)
				require.NoError(t, err)
				bound := st.WithTx(tx)
				require.Same(t, st, bound.Bound())
				rows, generation, err := bound.SyncEndpoints(t.Context(), 0, 10)
				require.NoError(t, err)
				require.Len(t, rows, 1)
				require.EqualValues(t, 1, generation)
				for range 2 { // a repetition changes nothing
					r, err := bound.Commit(t.Context(), webhook.Batch{Now: start, Sends: []webhook.SendGroup{sent}})
					require.NoError(t, err)
					require.Equal(t, webhook.SendStored, r.Sends[0].Status)
				}
				if keep {
					require.NoError(t, tx.Commit())
				} else {
					require.NoError(t, tx.Rollback())
				}
				_, err = st.GetEvent(t.Context(), sent.Events[0].Event.ID)
				if keep {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, webhook.ErrNotFound)
				}
			}
			storetest.CheckInvariants(t, st)
		})
	}
}

func TestWithTxRefuses(t *testing.T) {
	st := open(t, filepath.Join(t.TempDir(), "webhooks.db"))
	other := open(t, filepath.Join(t.TempDir(), "other.db"))
	try := func(db *sql.DB) error {
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback()) }()
		_, err = st.WithTx(tx).Commit(t.Context(), webhook.Batch{Now: start})
		return err
	}
	require.NoError(t, try(st.DB()))
	require.ErrorContains(t, try(other.DB()), "begin it on Store.DB()")

	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "plain.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.ErrorContains(t, try(db), "begin it on Store.DB()")

	st.DB().SetMaxOpenConns(1)
	_, err = st.DB().Exec(`PRAGMA synchronous = NORMAL`)
	require.NoError(t, err)
	require.ErrorContains(t, try(st.DB()), "below FULL")
}

// Two handles on one file take turns in sending and claiming: nothing is claimed twice or lost.
func TestTwoHandles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	stores := []*sqlite.Store{open(t, path), open(t, path)}
	m := &maker{t: t, st: stores[0], now: start}
	endpoint := m.endpoint()
	sent, claimed := map[string]bool{}, map[string]bool{}
	for i := range 60 {
		a, b := stores[i%2], stores[(i+1)%2]
		if i%10 == 9 {
			_, err := b.UpdateEndpoint(t.Context(), endpoint, func(*webhook.EndpointRow) error { return nil })
			require.NoError(t, err)
		}
		g := m.send(m.generation(), endpoint, "")
		sent[g.Events[0].Deliveries[0].ID] = true
		r, err := a.Commit(t.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{g}})
		require.NoError(t, err)
		require.Equal(t, webhook.SendStored, r.Sends[0].Status)
		for _, st := range []*sqlite.Store{b, a} {
			res, err := st.Claim(t.Context(), webhook.ClaimRequest{
				Now: m.now, LeaseUntil: m.now.Add(time.Minute), Limit: 1, PerEndpoint: 1, Owner: "me",
				NewAttemptID: func() string { return m.New(id.Attempt, m.now) },
			})
			require.NoError(t, err)
			for _, c := range res.Claims {
				require.False(t, claimed[c.DeliveryID], "claimed twice")
				claimed[c.DeliveryID] = true
				_, err := a.Commit(t.Context(), webhook.Batch{Now: m.now, Outcomes: []webhook.Outcome{m.success(c.DeliveryID)}})
				require.NoError(t, err)
			}
		}
	}
	require.Equal(t, sent, claimed)
	storetest.CheckInvariants(t, stores[0])
	storetest.CheckInvariants(t, stores[1])
}

// Waiting for the lock ends with the context.
func TestWaitingForTheLockHeedsTheContext(t *testing.T) {
	st := open(t, filepath.Join(t.TempDir(), "webhooks.db"))
	tx, err := st.DB().BeginTx(t.Context(), nil) // takes the write lock
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = st.Commit(ctx, webhook.Batch{Now: start})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, tx.Rollback())
	_, err = st.Commit(t.Context(), webhook.Batch{Now: start})
	require.NoError(t, err)
}

func TestMaintain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	st := open(t, path)
	m := &maker{t: t, st: st, now: start}
	endpoint := m.endpoint()
	for range 40 {
		batch := webhook.Batch{Now: start}
		for range 64 {
			batch.Sends = append(batch.Sends, m.send(m.generation(), endpoint, ""))
		}
		_, err := st.Commit(t.Context(), batch)
		require.NoError(t, err)
	}
	for more := true; more; {
		r, err := st.Erase(t.Context(), webhook.EraseRequest{Now: start, Limit: 500})
		require.NoError(t, err)
		more = r.More
	}
	before, err := os.Stat(path)
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, st.Maintain(t.Context(), start))
	}
	require.NoError(t, st.Close())
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, after.Size(), before.Size()/2, "free pages went back to the file system")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "xxxxxxxxxxxxxxxx", "the payload is not in the file any more")
}
