package postgres

import (
	"context"
	"slices"
	"strings"

	"github.com/outhook/webhook"
)

// standing looks whether the event is in the store already, and its deliveries with it: then it is a
// repetition; some may have been pruned since.
func (p *group) standing(f *freshEvent) (status webhook.SendStatus, done bool) {
	head := p.known.events[f.key]
	if head != nil && head.rest != f.rest {
		return webhook.SendTaken, true
	}
	for _, d := range f.deliveries {
		if has, ok := p.known.deliveries[d.key]; ok && (head == nil || has != (link{d.rest, f.key})) {
			return webhook.SendTaken, true
		}
	}
	for _, other := range p.fresh {
		if other.key == f.key || slices.ContainsFunc(other.deliveries, func(o ident) bool {
			return slices.ContainsFunc(f.deliveries, func(d ident) bool { return d.key == o.key })
		}) {
			return webhook.SendTaken, true
		}
	}
	if head == nil {
		return 0, false
	}
	p.receipts = append(p.receipts, receiptOf(f.NewEvent))
	return webhook.SendStored, true
}

// standing is what the store has already of what a batch brings.
type standing struct {
	events     map[int64]*eventHead
	keys       map[string]*eventHead // by tenant and idempotency key
	deliveries map[int64]link
}

// link is the rest of a delivery's ID, and its event.
type link struct{ rest, event int64 }

// lookUp reads it: idempotency keys always, the rest only on the careful way.
func (c *commit) lookUp() (list []*statement) {
	k := &c.known
	k.events, k.keys, k.deliveries = map[int64]*eventHead{}, map[string]*eventHead{}, map[int64]link{}
	var events, deliveries []int64
	var tenants, keys []string
	replay := false
	for i := range c.batch.Sends {
		for j := range c.batch.Sends[i].Events {
			ev := &c.batch.Sends[i].Events[j]
			f, ok := identsOf(ev)
			if !ok {
				continue
			}
			events, deliveries = append(events, f.key), append(deliveries, keysOf(f.deliveries)...)
			replay = replay || ev.Replay
			if ev.Event.IdempotencyKey != "" {
				tenants, keys = append(tenants, ev.Event.TenantID), append(keys, ev.Event.IdempotencyKey)
			}
		}
	}
	if (c.careful || replay) && len(events) > 0 {
		slices.Sort(events) // a replay adds to them
		list = append(list, &statement{sql: `SELECT ` + eventHeadColumns + ` FROM webhook.event e
			WHERE key = ANY($1::bigint[]) ORDER BY key FOR UPDATE`, args: []any{events}, scan: func(r row) error {
			h, err := scanEventHead(r)
			k.events[h.key] = h
			return err
		}}, &statement{sql: `SELECT key, rest, event FROM webhook.delivery WHERE key = ANY($1::bigint[])`,
			args: []any{deliveries}, scan: func(r row) error {
				var key int64
				var l link
				err := r.Scan(&key, &l.rest, &l.event)
				k.deliveries[key] = l
				return err
			}})
	}
	if len(keys) > 0 {
		list = append(list, &statement{sql: `SELECT ` + eventHeadColumns + ` FROM unnest($1::text[], $2::text[]) AS u(tenant, key)
			CROSS JOIN LATERAL (SELECT * FROM webhook.event WHERE tenant = u.tenant AND idempotency_key = u.key
				AND idempotency_key IS NOT NULL) e`,
			args: []any{tenants, keys}, scan: func(r row) error {
				h, err := scanEventHead(r)
				k.keys[h.tenant+"\x00"+h.idempotencyKey] = h
				return err
			}})
	}
	return list
}

// complete drops from what stands the deliveries that were pruned.
func (k *standing) complete(q *session) error {
	var all []int64
	for _, h := range k.keys {
		all = append(all, keysOf(h.deliveries)...)
	}
	if len(all) == 0 {
		return nil
	}
	has, err := q.existing(all)
	for _, h := range k.keys {
		h.deliveries = slices.DeleteFunc(h.deliveries, func(d ident) bool { return !has[d.key] })
	}
	return err
}

// note makes the groups that follow meet an event of this batch.
func (k *standing) note(f *freshEvent) {
	if f.replayed != nil {
		for _, i := range f.missing {
			k.deliveries[f.deliveries[i].key] = link{f.deliveries[i].rest, f.key}
		}
		return
	}
	h := &eventHead{
		key: f.key, rest: f.rest, deliveries: f.deliveries, fingerprint: f.Fingerprint, tenant: f.Event.TenantID,
		typ: f.Event.Type, idempotencyKey: f.Event.IdempotencyKey, expiresAt: micro(f.Event.ExpiresAt),
	}
	k.events[f.key] = h
	if h.idempotencyKey != "" {
		k.keys[busyKey(&f.Event)] = h
	}
	for _, d := range f.deliveries {
		k.deliveries[d.key] = link{d.rest, f.key}
	}
}

func busyKey(e *webhook.Event) string { return e.TenantID + "\x00" + e.IdempotencyKey }

// maxTested bounds the locks that one look at idempotency keys takes at once.
const maxTested = 256

// busyKeys finds idempotency keys that an open transaction of a user's is about to take: nobody knows yet
// how it ends, and an insertion would wait for that. Such a transaction holds an advisory lock on its key,
// so the look needs no waiting.
func (s *Store) busyKeys(ctx context.Context, b *webhook.Batch) (busy map[string]bool, err error) {
	var names []string
	var locks []int64
	for i := range b.Sends {
		for j := range b.Sends[i].Events {
			if e := &b.Sends[i].Events[j].Event; e.IdempotencyKey != "" && !b.Sends[i].Events[j].Replay {
				names = append(names, busyKey(e))
				locks = append(locks, s.lockKey("key", e.TenantID, e.IdempotencyKey))
			}
		}
	}
	busy = map[string]bool{}
	lock := `SELECT n, pg_try_advisory_xact_lock_shared(l) FROM unnest($1::bigint[]) WITH ORDINALITY AS u(l, n)`
	if s.bound {
		lock = strings.Replace(lock, "_shared", "", 1) // kept until the user's transaction ends
	}
	for from := 0; from < len(names); from += maxTested {
		to := min(from+maxTested, len(names))
		err := s.test(ctx, func(q *session) error {
			return q.query(func(r row) error {
				var n int64
				var free bool
				err := r.Scan(&n, &free)
				if !free {
					busy[names[from+int(n)-1]] = true
				}
				return err
			}, lock, locks[from:to])
		})
		if err != nil {
			return nil, err
		}
	}
	return busy, nil
}

// test runs one statement that leaves nothing behind, outside of any transaction unless the user has one.
func (s *Store) test(ctx context.Context, do func(*session) error) error {
	p, own := s.src.(*pooled)
	if !own {
		return s.write(ctx, do)
	}
	if err := p.enter(); err != nil {
		return err
	}
	defer p.leave()
	c, err := p.pool.Acquire(ctx)
	if err != nil {
		return explain(ctx, err)
	}
	defer c.Release()
	return explain(ctx, do(&session{ctx: ctx, c: pgxConn{c}, s: s}))
}
