package sqldb

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
)

// What is handed over to its sender as it is stored, nearly always succeeds within milliseconds. So those
// deliveries of a commit go in together, packed into one row of webhook_handed, and get a row of their own
// when something becomes of them: written once, and never in the queue. The row stands until all of them
// have one. That is all there is to know: what is in a list and has no row is under way for the first time.
//
// Whatever is not the result of that first attempt begins by unfolding the row: its deliveries become rows
// like any other. When the lease ends, the owner dies, or one is canceled, erased or asked for, nothing
// else has to know of webhook_handed. Lists look into it and leave it.

// first is a delivery that was handed over.
type first struct {
	key, rest, event, endpoint, tenant, typ int64
	due, until, created                     int64
	list                                    *handedList
}

// handedList is a row of webhook_handed without what it lists.
type handedList struct {
	key   int64 // of the first delivery
	owner int64
	at    int64 // when they were leased
	left  int   // how many have no row yet, in memory; never fewer than there are
	size  int
}

// delivery is the row that a delivery would have.
func (f *first) delivery() *delivery {
	return &delivery{
		key: f.key, rest: f.rest, event: f.event, endpoint: f.endpoint, tenant: f.tenant, typ: f.typ,
		nextAt: f.until, dueAt: f.due, owner: f.list.owner, leasedAt: f.list.at, lease: 1,
		createdAt: f.created, updatedAt: f.list.at, firstTry: true,
		lastAt: none, lastStatus: none, expiresAt: none, finishedAt: none,
	}
}

// packHanded packs deliveries, which are in the order of their keys.
func packHanded(list []first) []byte {
	p := make([]byte, 0, 40*len(list))
	last := list[0].key
	for i := range list {
		f := &list[i]
		p = binary.AppendUvarint(p, uint64(f.key-last))
		last = f.key
		p = binary.BigEndian.AppendUint64(p, uint64(f.rest))
		for _, v := range [...]int64{f.key - f.event, f.endpoint, f.tenant, f.typ, f.due - f.list.at, f.until - f.due, f.created - f.due} {
			p = binary.AppendVarint(p, v)
		}
	}
	return p
}

func unpackHanded(of *handedList, column []byte) (list []first, err error) {
	p := packed.NewReader(column)
	for last := of.key; p.More(); {
		f := first{list: of, key: last + int64(p.Uvarint()), rest: p.Fixed()}
		last = f.key
		f.event, f.endpoint, f.tenant, f.typ = f.key-p.Varint(), p.Varint(), p.Varint(), p.Varint()
		f.due = of.at + p.Varint()
		f.until, f.created = f.due+p.Varint(), f.due+p.Varint()
		list = append(list, f)
	}
	return list, p.End()
}

// fold takes a delivery into the commit's list, if it is one for it.
func (c *commit) fold(f *freshEvent, d ident, n *webhook.NewDelivery, e *endpointRef, typ, created int64) (folded bool, err error) {
	if n.LeasedBy == "" || c.careful || c.s.bound || f.replayed != nil || !f.Event.ExpiresAt.IsZero() || !e.enabled || e.ordered {
		return false, nil
	}
	owner, err := c.intern(n.LeasedBy)
	if err != nil {
		return false, err
	}
	if c.list == nil {
		c.list = &handedList{owner: owner, at: c.now}
	}
	if c.list.owner != owner {
		return false, nil
	}
	c.folded = append(c.folded, first{d.key, d.rest, f.key, e.num, f.tenant, typ,
		n.DueAt.UnixMicro(), n.LeaseUntil.UnixMicro(), created, c.list})
	return true, nil
}

// flushFolded writes the commit's list.
func (c *commit) flushFolded() error {
	if len(c.folded) == 0 {
		return nil
	}
	slices.SortFunc(c.folded, func(a, b first) int { return -descending(a.key, b.key) })
	until := c.folded[0].until
	for i := range c.folded {
		until = min(until, c.folded[i].until)
		if i > 0 && c.folded[i].key == c.folded[i-1].key {
			return errAgain
		}
	}
	low, high := c.folded[0].key, c.folded[len(c.folded)-1].key
	taken, err := c.taken(low, high)
	if err != nil {
		return err
	}
	for i := range c.folded {
		if taken[c.folded[i].key] {
			return errAgain // a repetition, or an ID that stands for another
		}
	}
	c.list.key, c.list.left, c.list.size = low, len(c.folded), len(c.folded)
	return c.exec(`INSERT INTO webhook_handed (key, last, owner, leased_at, until, list) VALUES (?, ?, ?, ?, ?, ?)`,
		low, high, c.list.owner, c.now, until, packHanded(c.folded))
}

// taken returns the keys of deliveries in a stretch of keys, rows or not: few, as they are newer than nearly all.
func (q *session) taken(low, high int64) (map[int64]bool, error) {
	taken := map[int64]bool{}
	err := q.query(func(r row) error {
		taken[r.int(0)] = true
		return nil
	}, `SELECT key FROM webhook_delivery WHERE key >= ? AND key <= ?`, low, high)
	if err != nil {
		return nil, err
	}
	handed, err := q.handed(`WHERE key <= ? AND last >= ?`, high, low)
	for i := range handed {
		taken[handed[i].key] = true
	}
	return taken, err
}

// handed reads what rows of webhook_handed list, deliveries that have a row by now among it.
func (q *session) handed(where string, args ...any) (all []first, err error) {
	err = q.query(func(r row) error {
		list, err := unpackHanded(&handedList{key: r.int(0), owner: r.int(1), at: r.int(2)}, r.bytes(3))
		all = append(all, list...)
		return err
	}, `SELECT key, owner, leased_at, list FROM webhook_handed `+where, args...)
	return all, err
}

// handedAmong returns those of some deliveries that were handed over and have no row yet.
func (q *session) handedAmong(keys []int64) ([]first, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	handed, err := q.handed(`WHERE key <= ? AND last >= ?`, slices.Max(keys), slices.Min(keys))
	if err != nil || len(handed) == 0 {
		return nil, err
	}
	wanted := make(map[int64]bool, len(keys))
	for _, key := range keys {
		wanted[key] = true
	}
	return q.withoutRow(slices.DeleteFunc(handed, func(f first) bool { return !wanted[f.key] }))
}

// withoutRow leaves out what has a row by now.
func (q *session) withoutRow(list []first) ([]first, error) {
	keys := make([]int64, len(list))
	for i := range list {
		keys[i] = list[i].key
	}
	has, err := q.haveRows(keys)
	return slices.DeleteFunc(list, func(f first) bool { return has[f.key] }), err
}

// unfold makes rows of all that stands in the same rows of webhook_handed as some deliveries, and reports
// whether there was any.
func (q *session) unfold(keys ...int64) (bool, error) {
	handed, err := q.handedAmong(keys)
	if err != nil {
		return false, err
	}
	lists := map[int64]bool{}
	for i := range handed {
		lists[handed[i].list.key] = true
	}
	for _, key := range sortedKeys(lists) {
		if err := q.unfoldWhere(`WHERE key = ?`, key); err != nil {
			return false, err
		}
	}
	return len(lists) > 0, nil
}

// unfoldEnded unfolds what has a lease that ran out.
func (q *session) unfoldEnded(now int64) error { return q.unfoldWhere(`WHERE until <= ?`, now) }

// unfoldAll unfolds everything, for changes that concern all of an endpoint or tenant.
func (q *session) unfoldAll() error { return q.unfoldWhere(`WHERE key >= ?`, 0) }

func (q *session) unfoldWhere(where string, arg int64) error {
	handed, err := q.handed(where, arg)
	if err != nil || len(handed) == 0 {
		return err
	}
	if handed, err = q.withoutRow(handed); err != nil {
		return err
	}
	rows := inserter{inserts: insertDeliveries}
	heads := map[int64]*delivery{}
	for i := range handed {
		d := handed[i].delivery()
		rows.add(d.key, d.rest, d.event, d.endpoint, d.tenant, d.typ, d.nextAt, d.dueAt, d.owner, d.leasedAt, d.lease,
			d.createdAt, d.updatedAt, nil)
		if h := heads[d.endpoint]; h == nil || d.nextAt < h.nextAt {
			heads[d.endpoint] = d
		}
	}
	if _, err := rows.flush(q); err != nil {
		return err
	}
	for _, endpoint := range sortedKeys(heads) {
		if err := q.lower(heads[endpoint]); err != nil {
			return err
		}
	}
	return q.exec(`DELETE FROM webhook_handed `+where, arg)
}

// endedHanded reports whether [session.unfoldEnded] has something to do.
func (q *session) endedHanded(now int64) (bool, error) {
	n, err := q.int(`SELECT EXISTS (SELECT 1 FROM webhook_handed WHERE until <= ?)`, now)
	return n != 0, err
}

// unfoldEnded is for what only reads.
func (s *Store) unfoldEnded(ctx context.Context, now time.Time) error {
	some := false
	err := s.read(ctx, func(q *session) (err error) {
		some, err = q.endedHanded(now.UnixMicro())
		return err
	})
	if err != nil || !some {
		return err
	}
	return s.write(ctx, func(q *session) error { return q.unfoldEnded(now.UnixMicro()) })
}

// unfoldAround unfolds all lists that may name one of some deliveries.
func (q *session) unfoldAround(keys []int64) error {
	if len(keys) == 0 {
		return nil
	}
	handed, err := q.handed(`WHERE key <= ? AND last >= ?`, slices.Max(keys), slices.Min(keys))
	lists := map[int64]bool{}
	for i := range handed {
		lists[handed[i].list.key] = true
	}
	for _, key := range sortedKeys(lists) {
		if err = errors.Join(err, q.unfoldWhere(`WHERE key = ?`, key)); err != nil {
			return err
		}
	}
	return err
}

// handed remembers what stands in webhook_handed by this process, so that a result can be written without
// reading anything but whether the row is still there.
type handed struct {
	mu   sync.Mutex
	by   map[int64]first // guarded by mu, as are the fields left
	list []*handedList   // oldest first, those that are over among them
	size int             // of all in list
}

// maxHanded is how many deliveries the lists may hold that are not over. A dispatcher has about a thousand
// under way; more means that a few of them take long, and then they get rows.
const maxHanded = 4096

func (h *handed) put(fresh []first) {
	if len(fresh) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.by == nil {
		h.by = make(map[int64]first, len(fresh))
	}
	for i := range fresh {
		h.by[fresh[i].key] = fresh[i]
	}
	h.list = append(h.list, fresh[0].list)
	h.size += len(fresh)
}

// settled forgets deliveries that have a row.
func (h *handed) settled(done []first) {
	if len(done) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range done {
		if _, known := h.by[done[i].key]; known {
			delete(h.by, done[i].key)
			done[i].list.left--
		}
	}
	h.list = slices.DeleteFunc(h.list, func(l *handedList) bool {
		if l.left > 0 {
			return false
		}
		h.size -= l.size
		return true
	})
}

// over tells of which lists these are the last.
func (h *handed) over(done []first) (keys []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := map[*handedList]int{}
	for i := range done {
		l := done[i].list
		if _, known := left[l]; !known {
			left[l] = l.left
		}
		if left[l]--; left[l] == 0 {
			keys = append(keys, l.key)
		}
	}
	return keys
}

// tooLong returns the key of the oldest list once there are too many, and forgets it.
func (h *handed) tooLong() (key int64, found bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.size <= maxHanded || len(h.list) == 0 {
		return 0, false
	}
	oldest := h.list[0]
	h.drop(oldest)
	return oldest.key, true
}

// forget drops a list that is not as it is remembered.
func (h *handed) forget(l *handedList) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(l)
}

func (h *handed) drop(l *handedList) {
	at := slices.Index(h.list, l)
	if at < 0 {
		return
	}
	h.list = slices.Delete(h.list, at, at+1)
	h.size -= l.size
	for key, f := range h.by {
		if f.list == l {
			delete(h.by, key)
		}
	}
}

// find returns what is remembered of the deliveries of outcomes, and the keys of those that must be read.
func (h *handed) find(outcomes []webhook.Outcome) (known []first, unknown []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range outcomes {
		key, rest, ok := id.Split(id.Delivery, outcomes[i].DeliveryID)
		if !ok {
			continue
		}
		if f, found := h.by[key]; found && f.rest == rest {
			known = append(known, f)
		} else {
			unknown = append(unknown, key)
		}
	}
	return known, unknown
}
