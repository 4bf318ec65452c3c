package sqldb

import (
	"context"
	"time"
)

// freeStep is how many free pages one Maintain gives back, and how many stay for what comes next.
const freeStep = 256

// Maintain moves what was committed from the WAL into the database file, as far as readers allow, and
// gives a little free space back to the file system. On a store made with [New] it does nothing: that
// database is the user's to look after. Call it every second; it is small, and without it a commit now
// and then takes longer.
func (s *Store) Maintain(ctx context.Context, now time.Time) error {
	p, own := s.src.(*pinned)
	if !own {
		return nil
	}
	if err := p.growWAL(ctx, s.id.file+"-wal"); err != nil {
		return explain(err)
	}
	if err := p.checkpoint(ctx); err != nil {
		return explain(err)
	}
	free := int64(0)
	err := s.read(ctx, func(q *session) (err error) {
		free, err = pragmaInt(q.run, q.c, `PRAGMA freelist_count`)
		return err
	})
	if err != nil || free <= freeStep {
		return err
	}
	return explain(p.outside(ctx, func(c conn) error {
		return c.query(context.WithoutCancel(ctx), `PRAGMA incremental_vacuum(256)`, nil, func(row) error { return nil })
	}))
}

// emptyWAL folds the WAL into the file and truncates it, so that what was erased does not live on there.
// Readers under way prevent it; then the next checkpoints overwrite it in time.
func (s *Store) emptyWAL(ctx context.Context) error {
	p, own := s.src.(*pinned)
	if !own {
		return nil
	}
	return explain(p.outside(ctx, func(c conn) error {
		return pragmaSet(context.WithoutCancel(ctx), c, `PRAGMA wal_checkpoint(TRUNCATE)`)
	}))
}
