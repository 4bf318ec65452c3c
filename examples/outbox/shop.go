package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/sqlite"
)

// shop is the service's database: its orders and its webhooks.
type shop interface {
	store() webhook.Store
	transact(ctx context.Context, do func(transaction) error) error
	list(ctx context.Context, w io.Writer) error
	close()
}

// transaction is one of the service's own, and the door for the events that belong to it.
type transaction interface {
	insert(ctx context.Context, o order) error
	webhooks() webhook.Tx
}

const createOrders = `CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY)`

func openShop(ctx context.Context, o options) (shop, error) {
	if o.Postgres == "" {
		st, err := sqlite.Open(o.File)
		if err != nil {
			return nil, err
		}
		_, err = st.DB().ExecContext(ctx, createOrders)
		return &sqliteShop{st}, err
	}
	pool, err := pgxpool.New(ctx, o.Postgres)
	if err != nil {
		return nil, err
	}
	st, err := postgres.New(ctx, pool)
	if err == nil {
		_, err = pool.Exec(ctx, createOrders)
	}
	return &postgresShop{st, pool}, err
}

type sqliteShop struct{ st *sqlite.Store }

func (s *sqliteShop) store() webhook.Store { return s.st }
func (s *sqliteShop) close()               { _ = s.st.Close() }

func (s *sqliteShop) transact(ctx context.Context, do func(transaction) error) error {
	tx, err := s.st.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(sqliteTx{tx, s.st}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (s *sqliteShop) list(ctx context.Context, w io.Writer) error {
	rows, err := s.st.DB().QueryContext(ctx, `SELECT id FROM orders`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		fmt.Fprintln(w, id)
	}
	return rows.Err()
}

type sqliteTx struct {
	tx *sql.Tx
	st *sqlite.Store
}

func (t sqliteTx) insert(ctx context.Context, o order) error {
	_, err := t.tx.ExecContext(ctx, `INSERT INTO orders (id) VALUES (?)`, o.ID)
	return err
}

func (t sqliteTx) webhooks() webhook.Tx { return t.st.WithTx(t.tx) }

type postgresShop struct {
	st   *postgres.Store
	pool *pgxpool.Pool
}

func (s *postgresShop) store() webhook.Store { return s.st }

func (s *postgresShop) close() {
	_ = s.st.Close()
	s.pool.Close()
}

func (s *postgresShop) transact(ctx context.Context, do func(transaction) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return do(postgresTx{tx, s.st}) })
}

func (s *postgresShop) list(ctx context.Context, w io.Writer) error {
	rows, err := s.pool.Query(ctx, `SELECT id FROM orders`)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, id := range ids {
		fmt.Fprintln(w, id)
	}
	return err
}

type postgresTx struct {
	tx pgx.Tx
	st *postgres.Store
}

func (t postgresTx) insert(ctx context.Context, o order) error {
	_, err := t.tx.Exec(ctx, `INSERT INTO orders (id) VALUES ($1)`, o.ID)
	return err
}

func (t postgresTx) webhooks() webhook.Tx { return t.st.WithTx(t.tx) }
