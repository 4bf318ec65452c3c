package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Prune implements [webhook.Store]. A round goes through its parts in order; the cursor names the part
// and the key where it stands. Rows that others work on at the moment are passed over; another round meets
// them again.
func (s *Store) Prune(ctx context.Context, r webhook.PruneRequest) (out webhook.PruneResult, err error) {
	err = s.write(ctx, func(q *session) error {
		p := pruning{session: q, request: &r, now: r.Now.UnixMicro(), left: max(r.Limit, 1), ending: newEnding(q)}
		if err := p.run(); err != nil {
			return err
		}
		out = p.result
		return p.flush(p.now)
	})
	if err != nil {
		return webhook.PruneResult{}, err
	}
	return out, nil
}

type pruning struct {
	*session
	*ending
	request *webhook.PruneRequest
	now     int64
	left    int // rows to look at
	result  webhook.PruneResult
}

// part does its work on rows after a key. next is where to go on; done: there is no more.
type part struct {
	name string
	do   func(p *pruning, after int64) (next int64, done bool, err error)
}

var parts = []part{
	{"cancel", (*pruning).cancelPending},
	{"expire", (*pruning).expire},
	{"detail", (*pruning).details},
	{"finish", (*pruning).finished},
	{"event", (*pruning).lonely},
	{"hour", (*pruning).hours},
}

func (p *pruning) run() error {
	at, after, err := p.start()
	if err != nil {
		return err
	}
	for ; at < len(parts); at, after = at+1, none {
		for {
			if p.left <= 0 {
				p.result.Cursor = parts[at].name + ":" + strconv.FormatInt(after, 10)
				return nil
			}
			next, done, err := parts[at].do(p, after)
			if err != nil {
				return err
			}
			if done {
				break
			}
			after = next
		}
	}
	return nil
}

func (p *pruning) start() (at int, after int64, err error) {
	if p.request.Cursor == "" {
		if err := p.enterNotes(p.now); err != nil {
			return 0, 0, err
		}
		return 0, none, p.exec(`DELETE FROM webhook.queue WHERE over AND next_at <= $1`, p.now)
	}
	name, key, _ := strings.Cut(p.request.Cursor, ":")
	after, err = strconv.ParseInt(key, 10, 64)
	for i := range parts {
		if err == nil && parts[i].name == name {
			return i, after, nil
		}
	}
	return 0, 0, &webhook.FieldError{Field: "Cursor", Message: fmt.Sprintf("%q is not of this store; start anew with none", p.request.Cursor)}
}

// cancelPending cancels what is pending and unleased at endpoints that say so. after is the endpoint.
func (p *pruning) cancelPending(after int64) (next int64, done bool, err error) {
	var code string
	found, err := p.one(`SELECT num, cancel_pending FROM webhook.endpoint WHERE cancel_pending IS NOT NULL AND num > $1
		ORDER BY num LIMIT 1`, []any{after}, &next, &code)
	if err != nil || !found {
		return 0, true, err
	}
	limit := p.left
	ended, err := p.endPending(canceled, webhook.ErrorCode(code), `SELECT key FROM webhook.queue
		WHERE endpoint = $1 AND NOT over AND (NOT leased OR next_at <= $2)`, next, p.now)
	p.result.Canceled += ended
	p.left--
	if ended == limit {
		next = after // there may be more
	}
	return next, false, err
}

// expire ends what is pending, unleased and past its time, held or not.
func (p *pruning) expire(int64) (next int64, done bool, err error) {
	ended, err := p.endPending(expired, webhook.CodeCancelledPastRetention, `SELECT key FROM webhook.queue
		WHERE expires_at IS NOT NULL AND expires_at <= $1 AND NOT over AND (NOT leased OR next_at <= $2)`, p.now, p.now)
	p.result.Expired += ended
	return none, ended == 0 || p.left > 0, err
}

// endPending ends as many of the selected deliveries as may be looked at.
func (p *pruning) endPending(state int64, code webhook.ErrorCode, keys string, args ...any) (ended int, err error) {
	args = append(args, int64(p.left))
	var found []*delivery
	err = p.query(func(r row) error {
		d, err := scanDelivery(r)
		found = append(found, d)
		return err
	}, fmt.Sprintf(`SELECT %s FROM webhook.delivery d WHERE key = ANY(ARRAY(%s LIMIT $%d)) AND state = 0
		ORDER BY key FOR UPDATE SKIP LOCKED`, deliveryColumns, keys, len(args)), args...)
	if err != nil {
		return 0, err
	}
	for _, d := range found {
		if d.leased(p.now) {
			continue
		}
		// Its lease, if it had one, ran out; nobody comes back for it.
		p.left--
		ended++
		p.cancel(d, state, code, p.now)
	}
	return ended, p.of.run(p.saver.statements()...)
}

// drift is how far the completion of attempts may deviate from the order of their IDs.
const drift = int64(time.Hour / time.Microsecond)

// The first attempt of a delivery has its key, and is stored as much later as the delivery waited. If that is longer than
// youngKey, its commit tells Prune, which else remembers nothing of keys younger than settled: longer than youngKey and a
// commit take together.
const (
	youngKey = 30 * time.Second
	settled  = 2 * time.Minute
)

// details takes headers and previews off old attempts. pruned_to keeps later rounds from going over
// them again. While a commit is under way that may add to those, nothing is remembered.
func (p *pruning) details(after int64) (next int64, done bool, err error) {
	if p.request.DetailBefore.IsZero() {
		return 0, true, nil
	}
	before := ceilMicro(p.request.DetailBefore)
	if after == none {
		if after, err = p.int(`SELECT pruned_to FROM webhook.progress`); err != nil {
			return 0, false, err
		}
	}
	alone := false
	if _, err = p.one(`SELECT pg_try_advisory_xact_lock($1)`, []any{p.s.lockKey("details")}, &alone); err != nil {
		return 0, false, err
	}
	var old []int64
	seen, first, tooNew := 0, int64(none), false
	next = after
	err = p.query(func(r row) error {
		var key, completed int64
		var has bool
		if err := r.Scan(&key, &completed, &has); err != nil {
			return err
		}
		seen++
		switch {
		case completed >= before+drift:
			tooNew = true
			return errStop
		case completed >= before && first == none:
			first = key // the next round begins here
		case completed < before && has:
			old = append(old, key)
		}
		next = key
		return nil
	}, `SELECT key, completed_at, capture IS NOT NULL
		FROM webhook.attempt WHERE key > $1 ORDER BY key LIMIT $2`, after, int64(p.left))
	if err != nil {
		return 0, false, err
	}
	done = tooNew || seen < p.left
	p.left -= seen
	if len(old) > 0 {
		if err := p.exec(`UPDATE webhook.attempt SET capture = NULL,
			detail_pruned_at = $2, updated_at = $2 WHERE key = ANY($1::bigint[])`, old, p.now); err != nil {
			return 0, false, err
		}
	}
	p.result.Details += len(old)
	if !alone {
		return next, done, nil
	}
	to := min(next, id.KeyAt(p.request.Now.Add(-settled))-1)
	if first != none {
		to = min(to, first-1)
	}
	// Remember that there is nothing left to prune up to a key, if that is so without a gap.
	return next, done, p.exec(`UPDATE webhook.progress SET pruned_to = $1 WHERE pruned_to >= $2 AND pruned_to < $1`, to, after)
}

// finished removes deliveries that ended long ago, oldest first, and events with their last one.
func (p *pruning) finished(after int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	before := ceilMicro(p.request.FinishedBefore)
	var old []int64
	seen, tooNew := 0, false
	next = after
	err = p.query(func(r row) error {
		d, err := scanDelivery(r)
		if err != nil {
			return err
		}
		seen++
		if d.createdAt >= before+drift {
			tooNew = true // none that follows can have finished before
			return errStop
		}
		if d.state != pending && d.finishedAt < before && !d.leased(p.now) {
			old = append(old, d.key)
		}
		next = d.key
		return nil
	}, `SELECT `+deliveryColumns+` FROM webhook.delivery d WHERE key > $1 ORDER BY key LIMIT $2`, after, int64(p.left))
	if err != nil {
		return 0, false, err
	}
	done = tooNew || seen < p.left
	p.left -= seen
	if len(old) == 0 {
		return next, done, nil
	}
	dropped, attempts, events, err := p.drop(`key = ANY($1::bigint[]) AND state <> 0 AND finished_at < $2
		AND (owner IS NULL OR next_at <= $3)`, old, before, p.now)
	p.result.Deliveries += len(dropped)
	p.result.Attempts += attempts
	p.result.Events += events
	p.left -= attempts
	return next, done, err
}

// drop removes deliveries with their attempts, and events that have none left.
func (e *ending) drop(which string, args ...any) (old []*delivery, attempts, events int, err error) {
	q := e.of
	if err := q.query(func(r row) error {
		d, err := scanDelivery(r)
		old = append(old, d)
		return err
	}, `SELECT `+deliveryColumns+` FROM webhook.delivery d WHERE `+which+` ORDER BY key FOR UPDATE SKIP LOCKED`, args...); err != nil {
		return nil, 0, 0, err
	}
	if len(old) == 0 {
		return nil, 0, 0, nil
	}
	var owners []int64
	drops := gathered{form: dropEntries}
	for _, d := range old {
		owners = append(owners, d.event)
		e.stats.drop(d)
		if d.stood.there {
			drops.add(d.endpoint, d.stood.nextAt, d.key)
		}
	}
	slices.Sort(owners)
	keys := keysSorted(old)
	attempt := &statement{sql: `DELETE FROM webhook.attempt WHERE delivery = ANY($1::bigint[])`, args: []any{keys}}
	// The events are locked, so that of two who drop the last deliveries of one, one sees that it is the last.
	list := []*statement{attempt,
		{sql: `SELECT key FROM webhook.event WHERE key = ANY($1::bigint[]) ORDER BY key FOR UPDATE`,
			args: []any{slices.Compact(owners)}, scan: func(row) error { return nil }},
		{sql: `DELETE FROM webhook.delivery WHERE key = ANY($1::bigint[])`, args: []any{keys}}}
	if drops.n > 0 {
		list = append(list, drops.statement())
	}
	if err := q.run(list...); err != nil {
		return nil, 0, 0, err
	}
	events, err = q.release(slices.Compact(owners))
	return old, int(attempt.changed), events, err
}

// release removes events none of whose deliveries is left. They are locked.
func (q *session) release(keys []int64) (gone int, err error) {
	heads := map[int64][]int64{}
	var all, empty []int64
	if err := q.query(func(r row) error {
		h, err := scanEventHead(r)
		heads[h.key] = keysOf(h.deliveries)
		all = append(all, heads[h.key]...)
		return err
	}, `SELECT `+eventHeadColumns+` FROM webhook.event e WHERE key = ANY($1::bigint[])`, keys); err != nil {
		return 0, err
	}
	has, err := q.existing(all)
	if err != nil {
		return 0, err
	}
	for key, deliveries := range heads {
		if !slices.ContainsFunc(deliveries, func(d int64) bool { return has[d] }) {
			empty = append(empty, key)
		}
	}
	if len(empty) == 0 {
		return 0, nil
	}
	n, err := q.changed(`DELETE FROM webhook.event WHERE key = ANY($1::bigint[])`, empty)
	return int(n), err
}

// lonely removes old events that never had a delivery, and bulk retries that are over.
func (p *pruning) lonely(int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	before := ceilMicro(p.request.FinishedBefore)
	if err := p.exec(`DELETE FROM webhook.bulk WHERE state IN ($1, $2) AND updated_at < $3`,
		string(webhook.BulkRetryDone), string(webhook.BulkRetryCanceled), before); err != nil {
		return none, true, err
	}
	n, err := p.changed(`DELETE FROM webhook.event WHERE key = ANY(ARRAY(SELECT key FROM webhook.event
		WHERE deliveries IS NULL AND created_at < $1 ORDER BY created_at LIMIT $2)) AND deliveries IS NULL`, before, int64(p.left))
	p.result.Events += int(n)
	done = int(n) < p.left
	p.left -= int(n)
	return none, done, err
}

// hours removes counters of hours before what is kept: those of all, then endpoint by endpoint.
func (p *pruning) hours(after int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	if next = all; after >= all {
		found, err := p.one(`SELECT num FROM webhook.endpoint WHERE num > $1 ORDER BY num LIMIT 1`, []any{after}, &next)
		if err != nil || !found {
			return 0, true, err
		}
	}
	p.left--
	before := p.request.FinishedBefore.UnixMicro()
	return next, false, p.exec(`DELETE FROM webhook.stat WHERE endpoint = $1 AND hour > 0 AND hour < $2`,
		next, before-before%hour)
}
