package sender

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// asynqSender keeps its tasks in Redis, completed ones for an hour.
type asynqSender struct {
	client    *asynq.Client
	server    *asynq.Server
	inspector *asynq.Inspector
	poster    *peer.Poster
	sent      atomic.Int64
}

func openAsynq(_ context.Context, task *load.Task) (load.Sender, error) {
	redis := asynq.RedisClientOpt{Network: "unix", Addr: task.Redis, PoolSize: 2 * task.Params["workers"]}
	a := &asynqSender{
		client: asynq.NewClient(redis), inspector: asynq.NewInspector(redis), poster: peer.NewPoster(task),
		server: asynq.NewServer(redis, asynq.Config{
			Concurrency: task.Params["workers"], TaskCheckInterval: time.Millisecond, LogLevel: asynq.ErrorLevel,
		}),
	}
	err := a.server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		return a.poster.Post(ctx, id, t.Payload())
	}))
	if err != nil {
		return nil, errors.Join(err, a.client.Close(), a.inspector.Close())
	}
	return a, nil
}

// Send has no batch to use: asynq enqueues one at a time.
func (a *asynqSender) Send(ctx context.Context, payloads [][]byte) error {
	for _, p := range payloads {
		if _, err := a.client.EnqueueContext(ctx, asynq.NewTask("hook", p), asynq.Retention(time.Hour)); err != nil {
			return err
		}
		a.sent.Add(1)
	}
	return nil
}

func (a *asynqSender) Settle(ctx context.Context) error { return settled(ctx, a, &a.sent) }

func (a *asynqSender) Recorded(context.Context) (int, error) {
	info, err := a.inspector.GetQueueInfo("default")
	if err != nil {
		return 0, err
	}
	return info.Completed, nil
}

func (a *asynqSender) Close() error {
	a.server.Shutdown()
	a.poster.Close()
	return errors.Join(a.client.Close(), a.inspector.Close())
}
