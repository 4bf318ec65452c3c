package postgres

import (
	"context"
	"time"

	"github.com/outhook/webhook"
)

var (
	_ webhook.ClockStore  = (*Store)(nil)
	_ webhook.ListenStore = (*Store)(nil)
	_ webhook.PeerStore   = (*Store)(nil)
)

// peerLife is how long a process counts that has not been heard of.
const peerLife = 3 * time.Second

// Peers notes that owner delivers, and counts those who do.
func (s *Store) Peers(ctx context.Context, now time.Time, owner string) (n int, err error) {
	err = s.write(ctx, func(q *session) error {
		long := now.Add(-peerLife).UnixMicro()
		var count int64
		list := []*statement{
			{sql: `SELECT set_config('synchronous_commit', 'off', true)`, scan: func(row) error { return nil }},
			{sql: `INSERT INTO webhook.peer AS p (owner, seen_at) VALUES ($1, $2)
				ON CONFLICT (owner) DO UPDATE SET seen_at = greatest(p.seen_at, excluded.seen_at)`, args: []any{owner, now.UnixMicro()}},
			{sql: `DELETE FROM webhook.peer WHERE owner IN (SELECT owner FROM webhook.peer WHERE seen_at < $1 ORDER BY owner
				FOR UPDATE SKIP LOCKED)`, args: []any{now.Add(-time.Minute).UnixMicro()}},
			{sql: `SELECT count(*) FROM webhook.peer WHERE seen_at >= $1`, args: []any{long},
				scan: func(r row) error { return r.Scan(&count) }},
		}
		err := q.run(list...)
		n = int(count)
		return err
	})
	return n, err
}

// Leave lets a process count no more.
func (s *Store) Leave(ctx context.Context, owner string) error {
	return s.write(ctx, func(q *session) error {
		return q.exec(`DELETE FROM webhook.peer WHERE owner = $1`, owner)
	})
}
