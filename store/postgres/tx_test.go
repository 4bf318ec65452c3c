package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/memory"
)

// transaction is one of the user's, of either kind.
type transaction struct {
	bound            func(p *process) webhook.Tx
	exec             func(sql string) error
	commit, rollback func() error
}

func begin(t *testing.T, dsn, kind string) transaction {
	ctx := context.Background()
	if kind == "pgx" {
		tx, err := pgtest.Pool(t, dsn, 2).Begin(ctx)
		require.NoError(t, err)
		t.Cleanup(func() { _ = tx.Rollback(ctx) })
		return transaction{
			bound: func(p *process) webhook.Tx { return p.st.WithTx(tx) },
			exec: func(sql string) error {
				_, err := tx.Exec(ctx, sql)
				return err
			},
			commit: func() error { return tx.Commit(ctx) }, rollback: func() error { return tx.Rollback(ctx) },
		}
	}
	db, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	tx, err := db.Begin()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = tx.Rollback()
		require.NoError(t, db.Close())
	})
	return transaction{
		bound: func(p *process) webhook.Tx { return p.st.WithSQLTx(tx) },
		exec: func(sql string) error {
			_, err := tx.Exec(sql)
			return err
		},
		commit: tx.Commit, rollback: tx.Rollback,
	}
}

func kinds(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{"pgx", "database/sql"} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func TestSendTxStandsAndFallsWithTheTransaction(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		dsn, r := pgtest.Database(t), newReceiver(t)
		p := newProcess(t, dsn, webhook.Config{}).run(t)
		p.endpoint(t, webhook.Endpoint{URL: r.URL})
		odd := webhook.Event{Type: "a.b", Payload: []byte("\x00\xff\"\\{},é"), IdempotencyKey: `k"\{},é`,
			Attributes: map[string]string{`"\`: "NULL"}, Headers: map[string]string{"X-Y": "{}"}}
		for _, commit := range []bool{false, true} {
			tx := begin(t, dsn, kind)
			receipt, err := p.SendTx(t.Context(), tx.bound(p), odd)
			require.NoError(t, err)
			require.Len(t, receipt.DeliveryIDs, 1)
			_, err = p.GetEvent(t.Context(), receipt.EventID)
			require.ErrorIs(t, err, webhook.ErrNotFound, "before the commit")
			if !commit {
				require.NoError(t, tx.rollback())
				continue
			}
			require.NoError(t, tx.commit())
			require.Equal(t, receipt.EventID, r.await(t, 1, 10*time.Second)[0].eventID)
			stored, err := p.GetEvent(t.Context(), receipt.EventID)
			require.NoError(t, err)
			require.Equal(t, odd.Payload, stored.Payload)
			require.Equal(t, odd.Attributes, stored.Attributes)
			require.Equal(t, odd.Headers, stored.Headers)
		}
		require.Len(t, r.arrivals(), 1)
	})
}

func TestADuplicateOrAConflictSparesTheTransaction(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		dsn, r := pgtest.Database(t), newReceiver(t)
		p := newProcess(t, dsn, webhook.Config{})
		p.endpoint(t, webhook.Endpoint{URL: r.URL})
		ev := webhook.Event{Type: "a.b", Payload: []byte("1"), IdempotencyKey: "k"}
		first, err := p.Send(t.Context(), ev)
		require.NoError(t, err)
		tx := begin(t, dsn, kind)
		require.NoError(t, tx.exec("CREATE TABLE orders (n int PRIMARY KEY)"))
		again, err := p.SendTx(t.Context(), tx.bound(p), ev)
		require.NoError(t, err)
		require.True(t, again.Duplicate)
		require.Equal(t, first.EventID, again.EventID)
		ev.Payload = []byte("2")
		_, err = p.SendTx(t.Context(), tx.bound(p), ev)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.NoError(t, tx.exec("INSERT INTO orders VALUES (1)"), "the transaction goes on")
		require.NoError(t, tx.commit())
	})
}

// One user's transaction with a key stays open; only those who want the same key wait for it.
func TestAnOpenSendTxHoldsUpOnlyItsOwnKey(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	p, other := newProcess(t, dsn, webhook.Config{}), newProcess(t, dsn, webhook.Config{})
	p.endpoint(t, webhook.Endpoint{URL: r.URL})
	ev := func(key string) webhook.Event {
		return webhook.Event{Type: "a.b", TenantID: "", Payload: []byte("1"), IdempotencyKey: key}
	}
	for _, commit := range []bool{true, false} {
		key := fmt.Sprint("held ", commit)
		tx := begin(t, dsn, "pgx")
		held, err := p.SendTx(t.Context(), tx.bound(p), ev(key))
		require.NoError(t, err)
		type answer struct {
			receipt webhook.Receipt
			err     error
		}
		waiting := make(chan answer, 2)
		for _, q := range []*process{p, other} {
			go func() {
				receipt, err := q.Send(context.Background(), ev(key))
				waiting <- answer{receipt, err}
			}()
		}
		for _, q := range []*process{p, other} {
			began := time.Now()
			for n := range 20 {
				_, err := q.Send(t.Context(), ev(fmt.Sprint(key, " other ", n)))
				require.NoError(t, err)
			}
			require.Less(t, time.Since(began), 5*time.Second)
			_, err := q.CreateEndpoint(t.Context(), webhook.Endpoint{URL: r.URL, EventTypes: []string{"x"}, AllowPrivate: webhook.Loopback})
			require.NoError(t, err)
		}
		require.Empty(t, waiting, "whether the key is taken is not known yet")
		if commit {
			require.NoError(t, tx.commit())
		} else {
			require.NoError(t, tx.rollback())
		}
		fresh := 0
		for range 2 {
			a := <-waiting
			require.NoError(t, a.err)
			if !a.receipt.Duplicate {
				fresh++
			}
			if commit {
				require.Equal(t, held.EventID, a.receipt.EventID)
			}
		}
		require.Equal(t, map[bool]int{true: 0, false: 1}[commit], fresh)
	}
}

func TestATransactionElsewhereIsRefused(t *testing.T) {
	p := newProcess(t, pgtest.Database(t), webhook.Config{})
	elsewhere := pgtest.Database(t)
	_, err := p.SendTx(t.Context(), begin(t, elsewhere, "pgx").bound(p), webhook.Event{Type: "a", Payload: []byte("1")})
	require.ErrorContains(t, err, "begin it on the same database")
	newProcess(t, elsewhere, webhook.Config{}) // now it has the tables
	_, err = p.SendTx(t.Context(), begin(t, elsewhere, "database/sql").bound(p), webhook.Event{Type: "a", Payload: []byte("1")})
	require.ErrorContains(t, err, "another database")
	d, err := webhook.New(memory.New(), webhook.Config{})
	require.NoError(t, err)
	_, err = d.SendTx(t.Context(), begin(t, elsewhere, "pgx").bound(p), webhook.Event{Type: "a", Payload: []byte("1")})
	require.ErrorIs(t, err, webhook.ErrInvalid)
}

// A user's serializable transaction may fail for reasons of its own; ours wait for nobody.
func TestSendTxInOtherIsolationLevels(t *testing.T) {
	dsn := pgtest.Database(t)
	p := newProcess(t, dsn, webhook.Config{})
	p.endpoint(t, webhook.Endpoint{URL: newReceiver(t).URL})
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		tx, err := pgtest.Pool(t, dsn, 2).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
		require.NoError(t, err)
		_, err = p.SendTx(t.Context(), p.st.WithTx(tx), webhook.Event{Type: "a", Payload: []byte("1"), IdempotencyKey: string(level)})
		require.NoError(t, err)
		require.NoError(t, tx.Commit(t.Context()))
	}
}

var errFailed = errors.New("failed")

func TestUpdatesOfEndpointsAreLostNeither(t *testing.T) {
	p := newProcess(t, pgtest.Database(t), webhook.Config{})
	e := p.endpoint(t, webhook.Endpoint{URL: "https://example.com"})
	_, err := p.UpdateEndpoint(t.Context(), e.ID, func(*webhook.Endpoint) error { return errFailed })
	require.ErrorIs(t, err, errFailed)
	got, err := p.GetEndpoint(t.Context(), e.ID)
	require.NoError(t, err)
	require.Equal(t, e.UpdatedAt, got.UpdatedAt)
}
