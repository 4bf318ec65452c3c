package sender

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// settled asks a contender's records until they have all that was sent.
func settled(ctx context.Context, s interface {
	Recorded(context.Context) (int, error)
}, sent *atomic.Int64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		n, err := s.Recorded(ctx)
		if err != nil || n >= int(sent.Load()) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d are on record: %w", n, sent.Load(), ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
