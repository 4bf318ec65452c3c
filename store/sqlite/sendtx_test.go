package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/webhooktest"
)

// shop is a user's program: its orders and its webhooks are in one database.
type shop struct {
	*webhook.Dispatcher
	db *sql.DB
	st *sqlite.Store
}

func openShop(t *testing.T, db *sql.DB, st *sqlite.Store) *shop {
	_, err := db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS orders (n INTEGER PRIMARY KEY)`)
	require.NoError(t, err)
	d, err := webhook.New(st, webhook.Config{PollInterval: 20 * time.Millisecond})
	require.NoError(t, err)
	return &shop{Dispatcher: d, db: db, st: st}
}

func (s *shop) order(t *testing.T, n int, commit bool) (webhook.Receipt, error) {
	tx, err := s.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.ExecContext(t.Context(), `INSERT INTO orders (n) VALUES (?)`, n)
	require.NoError(t, err)
	r, err := s.SendTx(t.Context(), s.st.WithTx(tx), webhook.Event{Type: "order.created", Payload: fmt.Appendf(nil, "%d", n)})
	if err != nil || !commit {
		return r, err
	}
	require.NoError(t, tx.Commit())
	s.Wake()
	return r, nil
}

func userDB(t *testing.T, path, settings string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+path+"?"+settings)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

const goodSettings = "_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_txlock=immediate"

func TestSendTxStandsAndFallsWithTheTransaction(t *testing.T) {
	for name, open := range map[string]func(t *testing.T, path string) *shop{
		"Open and DB": func(t *testing.T, path string) *shop {
			st, err := sqlite.Open(path)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, st.Close()) })
			return openShop(t, st.DB(), st)
		},
		"New": func(t *testing.T, path string) *shop {
			db := userDB(t, path, goodSettings)
			st, err := sqlite.New(db)
			require.NoError(t, err)
			return openShop(t, db, st)
		},
		"New on a pool of one": func(t *testing.T, path string) *shop {
			db := userDB(t, path, goodSettings)
			db.SetMaxOpenConns(1)
			st, err := sqlite.New(db)
			require.NoError(t, err)
			return openShop(t, db, st)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "shop.db"))
			receiver := webhooktest.NewReceiver(t)
			_, err := s.CreateEndpoint(t.Context(), receiver.Endpoint())
			require.NoError(t, err)
			for n := range 10 {
				r, err := s.order(t, n, n%2 == 0)
				require.NoError(t, err)
				require.Len(t, r.DeliveryIDs, 1)
			}
			require.NoError(t, s.RunOnce(t.Context()))
			var bodies []string
			for _, r := range receiver.Wait(t, 5) {
				bodies = append(bodies, string(r.Body))
			}
			require.ElementsMatch(t, []string{"0", "2", "4", "6", "8"}, bodies)
			list, err := s.ListEvents(t.Context(), webhook.EventQuery{})
			require.NoError(t, err)
			require.Len(t, list, 5)
		})
	}
}

func TestSendTxSeesEndpointsMadeElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	s := openShop(t, st.DB(), st)
	r, err := s.order(t, 1, true)
	require.NoError(t, err)
	require.Empty(t, r.DeliveryIDs)
	other, err := sqlite.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	d, err := webhook.New(other, webhook.Config{})
	require.NoError(t, err)
	_, err = d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example"})
	require.NoError(t, err)
	r, err = s.order(t, 2, true)
	require.NoError(t, err)
	require.Len(t, r.DeliveryIDs, 1)
}

func TestSendTxRefusesWhatWouldLoseEvents(t *testing.T) {
	st, err := sqlite.Open(filepath.Join(t.TempDir(), "webhooks.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	d, err := webhook.New(st, webhook.Config{})
	require.NoError(t, err)
	ev := webhook.Event{Type: "a.b", Payload: []byte("{}")}

	elsewhere := userDB(t, filepath.Join(t.TempDir(), "other.db"), goodSettings)
	tx, err := elsewhere.Begin()
	require.NoError(t, err)
	_, err = d.SendTx(t.Context(), st.WithTx(tx), ev)
	require.ErrorContains(t, err, "Store.DB()")
	require.NoError(t, tx.Rollback())

	foreign, err := webhook.New(memory.New(), webhook.Config{})
	require.NoError(t, err)
	tx, err = st.DB().Begin()
	require.NoError(t, err)
	_, err = foreign.SendTx(t.Context(), st.WithTx(tx), ev)
	require.ErrorIs(t, err, webhook.ErrInvalid)
	_, err = d.SendTx(t.Context(), nil, ev)
	require.ErrorIs(t, err, webhook.ErrInvalid)
	_, err = d.SendTx(t.Context(), st.WithTx(tx), webhook.Event{})
	require.ErrorIs(t, err, webhook.ErrInvalid)
	require.NoError(t, tx.Rollback())

	path := filepath.Join(t.TempDir(), "shop.db")
	db := userDB(t, path, goodSettings)
	own, err := sqlite.New(db)
	require.NoError(t, err)
	weak := userDB(t, path, goodSettings+"&_pragma=synchronous(NORMAL)")
	tx, err = weak.Begin()
	require.NoError(t, err)
	d, err = webhook.New(own, webhook.Config{})
	require.NoError(t, err)
	_, err = d.SendTx(t.Context(), own.WithTx(tx), ev)
	require.ErrorContains(t, err, "synchronous")
	require.NoError(t, tx.Rollback())
}

func TestABusyTransactionIsToldItsCure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	db := userDB(t, path, "_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)") // no _txlock
	st, err := sqlite.New(db)
	require.NoError(t, err)
	s := openShop(t, db, st)
	reader, err := db.Begin()
	require.NoError(t, err)
	defer reader.Rollback()
	var n int
	require.NoError(t, reader.QueryRow(`SELECT count(*) FROM orders`).Scan(&n))
	_, err = s.order(t, 1, true) // the other transaction's snapshot is old now
	require.NoError(t, err)
	began := time.Now()
	_, err = s.SendTx(t.Context(), st.WithTx(reader), webhook.Event{Type: "a.b", Payload: []byte("{}")})
	require.ErrorContains(t, err, "_txlock=immediate")
	require.Less(t, time.Since(began), 5*time.Second)
}

func TestCheckNamesBadSettings(t *testing.T) {
	db := userDB(t, filepath.Join(t.TempDir(), "shop.db"), "_pragma=busy_timeout(0)")
	st, err := sqlite.New(db)
	require.NoError(t, err)
	warnings, err := st.Check(t.Context())
	require.NoError(t, err)
	codes := map[string]bool{}
	for _, w := range warnings {
		codes[w.Code] = true
	}
	require.Equal(t, map[string]bool{"sqlite_journal_mode": true, "sqlite_busy_timeout": true}, codes)

	own, err := sqlite.Open(filepath.Join(t.TempDir(), "webhooks.db"))
	require.NoError(t, err)
	defer own.Close()
	warnings, err = own.Check(t.Context())
	require.NoError(t, err)
	require.Empty(t, warnings)
}
