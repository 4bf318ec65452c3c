package sender

import (
	"context"
	"sync/atomic"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
)

// bare is what everything is measured against: POSTs in a loop, unsigned, nothing stored.
type bare struct {
	poster *peer.Poster
	done   atomic.Int64
}

func openBare(_ context.Context, task *load.Task) (load.Sender, error) {
	return &bare{poster: peer.NewPoster(task)}, nil
}

func (b *bare) Send(ctx context.Context, payloads [][]byte) error {
	for _, p := range payloads {
		if err := b.poster.Post(ctx, "", p); err != nil {
			return err
		}
		b.done.Add(1)
	}
	return nil
}

func (b *bare) Settle(context.Context) error { return nil }

func (b *bare) Recorded(context.Context) (int, error) { return int(b.done.Load()), nil }

func (b *bare) Close() error {
	b.poster.Close()
	return nil
}
