package sender

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mikestefanello/backlite"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// backliteSender keeps its tasks in SQLite, completed ones with their payload for ever.
type backliteSender struct {
	db     *sql.DB
	client *backlite.Client
	poster *peer.Poster
	sent   atomic.Int64
	done   atomic.Int64
}

type backliteHook struct {
	Payload json.RawMessage
}

func (backliteHook) Config() backlite.QueueConfig {
	return backlite.QueueConfig{
		Name: "hook", MaxAttempts: 10, Backoff: time.Minute,
		Retention: &backlite.Retention{Data: &backlite.RetainData{}},
	}
}

func openBacklite(ctx context.Context, task *load.Task) (_ load.Sender, err error) {
	db, err := peer.OpenSQLite(task)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	b := &backliteSender{db: db, poster: peer.NewPoster(task)}
	b.client, err = backlite.NewClient(backlite.ClientConfig{
		DB: db, NumWorkers: task.Params["workers"], ReleaseAfter: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	if err := b.client.Install(); err != nil {
		return nil, err
	}
	b.client.Register(backlite.NewQueue(func(ctx context.Context, h backliteHook) error {
		// It shows a processor no ID of its task.
		return b.poster.Post(ctx, fmt.Sprintf("hook-%d", b.done.Add(1)), h.Payload)
	}))
	b.client.Start(context.WithoutCancel(ctx))
	return b, nil
}

func (b *backliteSender) Send(ctx context.Context, payloads [][]byte) error {
	tasks := make([]backlite.Task, len(payloads))
	for i, p := range payloads {
		tasks[i] = backliteHook{p}
	}
	_, err := b.client.Add(tasks...).Ctx(ctx).Save()
	b.sent.Add(int64(len(payloads)))
	return err
}

func (b *backliteSender) Settle(ctx context.Context) error { return settled(ctx, b, &b.sent) }

func (b *backliteSender) Recorded(ctx context.Context) (n int, err error) {
	err = b.db.QueryRowContext(ctx, `SELECT count(*) FROM backlite_tasks_completed WHERE succeeded = 1`).Scan(&n)
	return n, err
}

func (b *backliteSender) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	if !b.client.Stop(ctx) {
		err = errors.New("backlite did not stop")
	}
	b.poster.Close()
	return errors.Join(err, b.db.Close())
}
