package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// hook is a job. The payload is a string, since a jsonb column keeps the bytes of nothing else.
type hook struct {
	Payload string `json:"payload"`
}

func (hook) Kind() string { return "hook" }

type hookWorker struct {
	river.WorkerDefaults[hook]
	poster *peer.Poster
}

func (w *hookWorker) Work(ctx context.Context, job *river.Job[hook]) error {
	return w.poster.Post(ctx, strconv.FormatInt(job.ID, 10), []byte(job.Args.Payload))
}

type riverPostgres struct {
	pool    *pgxpool.Pool
	client  *river.Client[pgx.Tx]
	poster  *peer.Poster
	stopped bool
}

func openRiverPostgres(ctx context.Context, task *load.Task) (_ load.Sender, err error) {
	pool, err := pgxpool.New(ctx, task.Postgres)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	r := &riverPostgres{pool: pool, poster: peer.NewPoster(task)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &hookWorker{poster: r.poster})
	r.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: task.Params["workers"]}},
		Workers:           workers,
		FetchCooldown:     time.Duration(task.Params["fetch_ms"]) * time.Millisecond,
		FetchPollInterval: 100 * time.Millisecond, // Postgres announces new jobs
		Logger:            errorsOnly(),
	})
	if err != nil {
		return nil, err
	}
	return r, r.client.Start(context.WithoutCancel(ctx))
}

func (r *riverPostgres) Send(ctx context.Context, payloads [][]byte) error {
	if len(payloads) == 1 {
		_, err := r.client.Insert(ctx, hook{string(payloads[0])}, nil)
		return err
	}
	jobs := make([]river.InsertManyParams, len(payloads))
	for i, p := range payloads {
		jobs[i].Args = hook{string(p)}
	}
	_, err := r.client.InsertManyFast(ctx, jobs)
	return err
}

// Settle stops the client: it writes all results then.
func (r *riverPostgres) Settle(ctx context.Context) error {
	r.stopped = true
	return r.client.Stop(ctx)
}

func (r *riverPostgres) Recorded(ctx context.Context) (n int, err error) {
	err = r.pool.QueryRow(ctx, `SELECT count(*) FROM river_job WHERE state = 'completed'`).Scan(&n)
	return n, err
}

func (r *riverPostgres) Close() (err error) {
	if !r.stopped {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err = r.client.Stop(ctx); err != nil {
			err = fmt.Errorf("stop: %w", errors.Join(err, r.client.StopAndCancel(context.Background())))
		}
	}
	r.pool.Close()
	r.poster.Close()
	return err
}
