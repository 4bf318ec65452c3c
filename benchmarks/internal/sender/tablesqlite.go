package sender

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

type sqliteTable struct {
	db                        *sql.DB
	add, take, finish, number *sql.Stmt
}

func openTableSQLite(ctx context.Context, task *load.Task) (load.Sender, error) {
	db, err := peer.OpenSQLite(task)
	if err != nil {
		return nil, err
	}
	t := &sqliteTable{db: db}
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return openTable(ctx, task, t), nil
}

func (t *sqliteTable) prepare(ctx context.Context) error {
	_, err := t.db.ExecContext(ctx, `
		CREATE TABLE hook (
			id          INTEGER PRIMARY KEY,
			payload     BLOB NOT NULL,
			status      INTEGER NOT NULL DEFAULT 0,
			attempts    INTEGER NOT NULL DEFAULT 0,
			next_at     INTEGER NOT NULL,
			response    INTEGER,
			finished_at INTEGER
		);
		CREATE INDEX hook_due ON hook (next_at) WHERE status = 0`)
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&t.add, `INSERT INTO hook (payload, next_at) VALUES (?, ?)`},
		{&t.take, `
			UPDATE hook SET status = 1, attempts = attempts + 1
			WHERE id IN (SELECT id FROM hook WHERE status = 0 AND next_at <= ? ORDER BY next_at LIMIT ?)
			RETURNING id, payload`},
		{&t.finish, `UPDATE hook SET status = 2, response = 200, finished_at = ? WHERE id = ?`},
		{&t.number, `SELECT count(*) FROM hook WHERE status = 2`},
	} {
		if err == nil {
			*p.stmt, err = t.db.PrepareContext(ctx, p.text)
		}
	}
	return err
}

func (t *sqliteTable) insert(ctx context.Context, payloads [][]byte) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	add := tx.StmtContext(ctx, t.add)
	now := time.Now().UnixMicro()
	for _, p := range payloads {
		if _, err := add.ExecContext(ctx, p, now); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (t *sqliteTable) claim(ctx context.Context, limit int) (claimed []tableRow, err error) {
	rows, err := t.take.QueryContext(ctx, time.Now().UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r tableRow
		if err := rows.Scan(&r.id, &r.payload); err != nil {
			return nil, err
		}
		claimed = append(claimed, r)
	}
	return claimed, rows.Err()
}

func (t *sqliteTable) succeeded(ctx context.Context, id int64) error {
	_, err := t.finish.ExecContext(ctx, time.Now().UnixMicro(), id)
	return err
}

func (t *sqliteTable) count(ctx context.Context) (n int, err error) {
	err = t.number.QueryRowContext(ctx).Scan(&n)
	return n, err
}

func (t *sqliteTable) close() error { return t.db.Close() }
