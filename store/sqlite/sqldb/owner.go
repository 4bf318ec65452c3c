package sqldb

import (
	"context"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Owners tells the living from the dead among the processes that have a database open. Package sqlite
// gives its stores one that holds a lock on a file beside the database.
type Owners interface {
	// Name is in whose name this process leases.
	Name() string
	// Dead returns owners whose processes are dead. They are named again until Buried is called.
	Dead() ([]string, error)
	// Buried ends what is remembered of an owner: nothing is leased in its name any more.
	Buried(name string) error
	// Close gives the name up.
	Close() error
}

var _ webhook.OwnerStore = (*Store)(nil)

// nobodyElse is who leases where nothing can be known of other processes: leases of the dead run out.
type nobodyElse struct{ name string }

func newNobodyElse() nobodyElse {
	var g id.Generator
	return nobodyElse{name: g.New("", time.Now())}
}

func (n nobodyElse) Name() string           { return n.name }
func (nobodyElse) Dead() ([]string, error)  { return nil, nil }
func (nobodyElse) Buried(name string) error { return nil }
func (nobodyElse) Close() error             { return nil }

// UseOwners lets the store take over from dead processes at once. Call it before anything is leased;
// Close closes o.
func (s *Store) UseOwners(o Owners) { s.owners = o }

// Owner is in whose name this process leases.
func (s *Store) Owner() string { return s.owners.Name() }

// FreeLeases lets the leases of dead processes end at now. Without [Store.UseOwners] nobody is known to
// be dead, and leases run out.
func (s *Store) FreeLeases(ctx context.Context, now time.Time) (freed int, err error) {
	dead, err := s.owners.Dead()
	if err != nil {
		return 0, err
	}
	for _, name := range dead {
		n, err := s.freeLeasesOf(ctx, name, now.UnixMicro())
		freed += n
		if err == nil {
			err = s.owners.Buried(name)
		}
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// freeLeasesOf looks for the leases first, without the write lock: that may be a walk through all that
// is pending.
func (s *Store) freeLeasesOf(ctx context.Context, name string, now int64) (freed int, err error) {
	if err := s.unfoldOf(ctx, name); err != nil {
		return 0, err
	}
	var keys []int64
	var owner int64
	err = s.read(ctx, func(q *session) (err error) {
		if owner, err = q.find(name); err != nil || owner == 0 {
			return err
		}
		for _, leased := range []string{
			`SELECT key FROM webhook_delivery INDEXED BY webhook_delivery_pending
			WHERE state = 0 AND owner = ? AND next_at > ?`,
			`SELECT key FROM webhook_delivery INDEXED BY webhook_delivery_late
			WHERE state > 0 AND owner IS NOT NULL AND owner = ? AND next_at > ?`,
		} {
			if err := q.query(func(r row) error { keys = append(keys, r.int(0)); return nil }, leased, owner, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	err = s.write(ctx, func(q *session) error {
		freed = 0
		for _, key := range keys {
			n, err := q.changed(`UPDATE webhook_delivery SET next_at = ? WHERE key = ? AND owner = ? AND next_at > ?`,
				now, key, owner, now)
			if err != nil {
				return err
			}
			freed += int(n)
			if err := q.exec(`UPDATE webhook_head SET next_at = ?
				WHERE next_at > ? AND endpoint = (SELECT endpoint FROM webhook_delivery WHERE key = ?)`, now, now, key); err != nil {
				return err
			}
		}
		return nil
	})
	return freed, err
}

// unfoldOf makes rows of what an owner was handed.
func (s *Store) unfoldOf(ctx context.Context, name string) error {
	owner, some := int64(0), int64(0)
	err := s.read(ctx, func(q *session) (err error) {
		if owner, err = q.find(name); err == nil && owner != 0 {
			some, err = q.int(`SELECT EXISTS (SELECT 1 FROM webhook_handed WHERE owner = ?)`, owner)
		}
		return err
	})
	if err != nil || some == 0 {
		return err
	}
	return s.write(ctx, func(q *session) error { return q.unfoldWhere(`WHERE owner = ?`, owner) })
}
