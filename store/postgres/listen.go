package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Listen calls wake whenever another process may have made something claimable or changed an endpoint, and
// once when it has begun to listen. It returns when ctx ends or its connection breaks; call it again then. It has a
// connection of its own beside the pool. With [WithoutListen] it waits for ctx to end.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	if s.quiet {
		<-ctx.Done()
		return ctx.Err()
	}
	c, err := s.dial(ctx)
	if err != nil {
		return explain(ctx, fmt.Errorf("connecting to listen: %w", err))
	}
	defer func() {
		// The context has ended, most likely, and a farewell is due all the same.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = c.Close(last)
	}()
	if _, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return explain(ctx, err)
	}
	wake() // for what was missed
	for {
		n, err := c.WaitForNotification(ctx)
		if err != nil {
			return explain(ctx, err)
		}
		if n.Payload != s.self {
			wake()
		}
	}
}

func (s *Store) dial(ctx context.Context) (*pgx.Conn, error) {
	if s.listen != nil {
		return pgx.ConnectConfig(ctx, s.listen.Copy())
	}
	config := s.pool.Config()
	own := config.ConnConfig.Copy()
	if config.BeforeConnect != nil { // such as one that fetches a password
		if err := config.BeforeConnect(ctx, own); err != nil {
			return nil, err
		}
	}
	return pgx.ConnectConfig(ctx, own)
}
