package sender

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

type postgresTable struct{ pool *pgxpool.Pool }

func openTablePostgres(ctx context.Context, task *load.Task) (load.Sender, error) {
	pool, err := pgxpool.New(ctx, task.Postgres)
	if err != nil {
		return nil, err
	}
	_, err = pool.Exec(ctx, `
		CREATE TABLE hook (
			id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			payload     bytea NOT NULL,
			status      smallint NOT NULL DEFAULT 0,
			attempts    integer NOT NULL DEFAULT 0,
			next_at     timestamptz NOT NULL DEFAULT now(),
			response    integer,
			finished_at timestamptz
		);
		CREATE INDEX hook_due ON hook (next_at) WHERE status = 0`)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return openTable(ctx, task, &postgresTable{pool}), nil
}

func (t *postgresTable) insert(ctx context.Context, payloads [][]byte) error {
	_, err := t.pool.Exec(ctx, `INSERT INTO hook (payload) SELECT unnest($1::bytea[])`, payloads)
	return err
}

func (t *postgresTable) claim(ctx context.Context, limit int) ([]tableRow, error) {
	rows, err := t.pool.Query(ctx, `
		UPDATE hook SET status = 1, attempts = attempts + 1
		WHERE id IN (
			SELECT id FROM hook WHERE status = 0 AND next_at <= now()
			ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
		)
		RETURNING id, payload`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r tableRow, err error) {
		err = row.Scan(&r.id, &r.payload)
		return r, err
	})
}

func (t *postgresTable) succeeded(ctx context.Context, id int64) error {
	_, err := t.pool.Exec(ctx, `UPDATE hook SET status = 2, response = 200, finished_at = now() WHERE id = $1`, id)
	return err
}

func (t *postgresTable) count(ctx context.Context) (n int, err error) {
	err = t.pool.QueryRow(ctx, `SELECT count(*) FROM hook WHERE status = 2`).Scan(&n)
	return n, err
}

func (t *postgresTable) close() error {
	t.pool.Close()
	return nil
}
