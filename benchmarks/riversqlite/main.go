// Riversqlite measures River on SQLite. It is a module of its own because the last version of that driver which
// the Go module proxy has fits only the version of River beside it, and River on Postgres is measured in a newer
// one.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

func main() {
	senders := map[string]peer.Opener{"river-sqlite": open}
	if err := peer.Run(context.Background(), os.Stdin, os.Stdout, senders, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hook is a job.
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

type riverSQLite struct {
	db      *sql.DB
	client  *river.Client[*sql.Tx]
	poster  *peer.Poster
	stopped bool
}

func open(ctx context.Context, task *load.Task) (_ load.Sender, err error) {
	db, err := peer.OpenSQLite(task)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = db.Close()
		}
	}()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	migrator, err := rivermigrate.New(riversqlite.New(db), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	r := &riverSQLite{db: db, poster: peer.NewPoster(task)}
	workers := river.NewWorkers()
	river.AddWorker(workers, &hookWorker{poster: r.poster})
	fetch := time.Duration(task.Params["fetch_ms"]) * time.Millisecond
	r.client, err = river.NewClient(riversqlite.New(db), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: task.Params["workers"]}},
		Workers:           workers,
		FetchCooldown:     fetch,
		FetchPollInterval: fetch, // SQLite announces nothing
		Logger:            quiet,
	})
	if err != nil {
		return nil, err
	}
	return r, r.client.Start(context.WithoutCancel(ctx))
}

// Send uses InsertMany: InsertManyFast panics in this version where nothing listens, and inserts row by row too.
func (r *riverSQLite) Send(ctx context.Context, payloads [][]byte) error {
	jobs := make([]river.InsertManyParams, len(payloads))
	for i, p := range payloads {
		jobs[i].Args = hook{string(p)}
	}
	_, err := r.client.InsertMany(ctx, jobs)
	return err
}

// Settle stops the client: it writes all results then.
func (r *riverSQLite) Settle(ctx context.Context) error {
	r.stopped = true
	return r.client.Stop(ctx)
}

func (r *riverSQLite) Recorded(ctx context.Context) (n int, err error) {
	err = r.db.QueryRowContext(ctx, `SELECT count(*) FROM river_job WHERE state = 'completed'`).Scan(&n)
	return n, err
}

func (r *riverSQLite) Close() (err error) {
	if !r.stopped {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = r.client.StopAndCancel(ctx)
	}
	r.poster.Close()
	if closed := r.db.Close(); err == nil {
		err = closed
	}
	return err
}
