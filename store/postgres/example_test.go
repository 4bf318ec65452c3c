package postgres_test

import (
	"context"
	"fmt"
	"hash/fnv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
)

// openDispatcher is what a service does at its start.
func openDispatcher(ctx context.Context, databaseURL string) (*webhook.Dispatcher, *postgres.Store, *pgxpool.Pool, error) {
	pool, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return nil, nil, nil, err
	}
	st, err := postgres.New(ctx, pool)
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := webhook.New(st, webhook.Config{})
	return d, st, pool, err
}

// placeOrder stores an order and its event, both or neither.
func placeOrder(ctx context.Context, pool *pgxpool.Pool, st *postgres.Store, d *webhook.Dispatcher, number int) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO orders (number) VALUES ($1)`, number); err != nil {
			return err
		}
		event := webhook.Event{Type: "order.created", Payload: fmt.Appendf(nil, `{"order":%d}`, number)}
		_, err := d.SendTx(ctx, st.WithTx(tx), event) // database/sql: st.WithSQLTx(tx)
		return err
	})
}

// shards are dispatchers over databases of their own; a tenant has all that is his in one of them.
type shards []*webhook.Dispatcher

func (s shards) of(tenant string) *webhook.Dispatcher {
	h := fnv.New32a()
	h.Write([]byte(tenant))
	return s[h.Sum32()%uint32(len(s))]
}

func TestExamples(t *testing.T) {
	d, st, pool, err := openDispatcher(t.Context(), pgtest.Database(t))
	require.NoError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), `CREATE TABLE orders (number int PRIMARY KEY)`)
	require.NoError(t, err)
	require.NoError(t, placeOrder(t.Context(), pool, st, d, 1))
	require.Error(t, placeOrder(t.Context(), pool, st, d, 1))
	events, err := d.ListEvents(t.Context(), webhook.EventQuery{})
	require.NoError(t, err)
	require.Len(t, events, 1)
}

func TestShards(t *testing.T) {
	r := newReceiver(t)
	var s shards
	for range 3 {
		s = append(s, newProcess(t, pgtest.Database(t), webhook.Config{}).run(t).Dispatcher)
	}
	used := map[*webhook.Dispatcher]bool{}
	for n := range 12 {
		tenant := fmt.Sprint("tenant ", n)
		d := s.of(tenant)
		used[d] = true
		_, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{TenantID: tenant, URL: r.URL, AllowPrivate: webhook.Loopback})
		require.NoError(t, err)
		_, err = d.Send(t.Context(), webhook.Event{TenantID: tenant, Type: "a", Payload: []byte("{}")})
		require.NoError(t, err)
	}
	r.await(t, 12, 10*time.Second)
	require.Len(t, used, 3)
}
