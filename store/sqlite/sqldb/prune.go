package sqldb

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// Prune implements [webhook.Store]. A round goes through its parts in order; the cursor names the part
// and the key where it stands.
func (s *Store) Prune(ctx context.Context, r webhook.PruneRequest) (out webhook.PruneResult, err error) {
	err = s.write(ctx, func(q *session) error {
		p := pruning{session: q, request: &r, now: r.Now.UnixMicro(), left: max(r.Limit, 1), sums: stats{}}
		if err := p.run(); err != nil {
			return err
		}
		out = p.result
		return p.sums.flush(q)
	})
	if err != nil {
		return webhook.PruneResult{}, err
	}
	return out, nil
}

type pruning struct {
	*session
	request *webhook.PruneRequest
	now     int64
	left    int // rows to look at
	sums    stats
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
	{"event", (*pruning).events},
	{"hour", (*pruning).hours},
}

func (p *pruning) run() error {
	at, after, err := p.start()
	if err != nil {
		return err
	}
	if err := p.unfoldEnded(p.now); err != nil {
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
		return 0, none, nil
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
	var code webhook.ErrorCode
	found, err := p.one(func(r row) { next, code = r.int(0), webhook.ErrorCode(r.str(1)) },
		`SELECT num, cancel_pending FROM webhook_endpoint INDEXED BY webhook_endpoint_cancel
		WHERE cancel_pending IS NOT NULL AND num > ? ORDER BY num LIMIT 1`, after)
	if err != nil || !found {
		return 0, true, err
	}
	limit := p.left
	ended, err := p.endPending(canceled, code, `FROM webhook_delivery INDEXED BY webhook_delivery_pending
		WHERE state = 0 AND endpoint = ? AND (owner IS NULL OR next_at <= ?)`, next, p.now)
	p.result.Canceled += ended
	p.left--
	if ended == limit {
		next = after // there may be more
	}
	return next, false, err
}

// expire ends what is pending, unleased and past its time, held or not.
func (p *pruning) expire(int64) (next int64, done bool, err error) {
	ended, err := p.endPending(expired, webhook.CodeCancelledPastRetention,
		`FROM webhook_delivery INDEXED BY webhook_delivery_expiry
		WHERE state = 0 AND expires_at IS NOT NULL AND expires_at <= ? AND (owner IS NULL OR next_at <= ?)`, p.now, p.now)
	p.result.Expired += ended
	return none, p.left > 0, err
}

// endPending ends as many of the selected deliveries as may be looked at.
func (p *pruning) endPending(state int64, code webhook.ErrorCode, from string, args ...any) (ended int, err error) {
	var found []*delivery
	err = p.query(func(r row) error {
		found = append(found, scanDelivery(r))
		return nil
	}, `SELECT `+deliveryColumns+` `+from+` LIMIT ?`, append(args, int64(p.left))...)
	if err != nil {
		return 0, err
	}
	p.left -= len(found)
	for _, d := range found {
		// Its lease, if it had one, ran out; nobody comes back for it.
		if err := p.cancel(d, state, code, p.now, p.sums); err != nil {
			return 0, err
		}
	}
	return len(found), nil
}

// drift is how far the completion of attempts may deviate from the order of their IDs.
const drift = int64(time.Hour / time.Microsecond)

// details takes headers and previews off old attempts. pruned_to keeps later rounds from going over
// them again.
func (p *pruning) details(after int64) (next int64, done bool, err error) {
	if p.request.DetailBefore.IsZero() {
		return 0, true, nil
	}
	before := ceilMicro(p.request.DetailBefore)
	if after == none {
		if after, err = p.int(`SELECT value FROM webhook_meta WHERE name = 'pruned_to'`); err != nil {
			return 0, false, err
		}
	}
	var old []int64
	seen, first, tooNew := 0, int64(none), false
	next = after
	err = p.query(func(r row) error {
		seen++
		switch completed := r.int(1); {
		case completed >= before+drift:
			tooNew = true
			return errStop
		case completed >= before && first == none:
			first = r.int(0) // the next round begins here
		case completed < before && r.int(2) != 0:
			old = append(old, r.int(0))
		}
		next = r.int(0)
		return nil
	}, `SELECT key, completed_at, capture IS NOT NULL FROM webhook_attempt WHERE key > ? ORDER BY key LIMIT ?`, after, int64(p.left))
	if err != nil {
		return 0, false, err
	}
	done = tooNew || seen < p.left
	p.left -= seen
	if err := p.strip(old, p.now); err != nil {
		return 0, false, err
	}
	p.result.Details += len(old)
	to := next
	if first != none {
		to = first - 1
	}
	return next, done, p.prunedTo(after, to)
}

// prunedTo remembers that there is nothing left to prune up to a key, if that is so without a gap.
func (p *pruning) prunedTo(from, to int64) error {
	return p.exec(`UPDATE webhook_meta SET value = ? WHERE name = 'pruned_to' AND value >= ? AND value < ?`, to, from, to)
}

// strip removes what was captured by attempts.
func (q *session) strip(keys []int64, now int64) error {
	return inKeys(keys, func(marks string, args []any) error {
		return q.exec(`UPDATE webhook_attempt SET capture = NULL, detail_pruned_at = ?, updated_at = ?
			WHERE key IN (`+marks+`)`, append([]any{now, now}, args...)...)
	})
}

// finished removes deliveries that ended long ago, oldest first, and events with their last one.
func (p *pruning) finished(after int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	before := ceilMicro(p.request.FinishedBefore)
	var old []*delivery
	seen, tooNew := 0, false
	next = after
	err = p.query(func(r row) error {
		seen++
		d := scanDelivery(r)
		if d.createdAt >= before+drift {
			tooNew = true // none that follows can have finished before
			return errStop
		}
		if d.state != pending && d.finishedAt < before && !d.leased(p.now) {
			old = append(old, d)
		}
		next = d.key
		return nil
	}, `SELECT `+deliveryColumns+` FROM webhook_delivery WHERE key > ? ORDER BY key LIMIT ?`, after, int64(p.left))
	if err != nil {
		return 0, false, err
	}
	done = tooNew || seen < p.left
	p.left -= seen
	p.result.Deliveries += len(old)
	attempts, events, err := p.drop(old, p.sums)
	p.result.Attempts += attempts
	p.result.Events += events
	p.left -= attempts
	return next, done, err
}

// drop removes deliveries with their attempts, and events that have none left.
func (q *session) drop(old []*delivery, sums stats) (attempts, events int, err error) {
	keys := make([]int64, 0, len(old))
	owners := map[int64]bool{}
	for _, d := range old {
		keys = append(keys, d.key)
		owners[d.event] = true
		sums.add(d.endpoint, 0, d.state, -1)
	}
	// A row that is gone must not be made anew.
	if err := q.unfoldAround(keys); err != nil {
		return 0, 0, err
	}
	for _, table := range []string{
		`DELETE FROM webhook_attempt WHERE key <> delivery AND delivery IN (`,
		`DELETE FROM webhook_attempt WHERE delivery = key AND key IN (`,
		`DELETE FROM webhook_delivery WHERE key IN (`,
	} {
		err := inKeys(keys, func(marks string, args []any) error {
			n, err := q.changed(table+marks+`)`, args...)
			if strings.Contains(table, "webhook_attempt") {
				attempts += int(n)
			}
			return err
		})
		if err != nil {
			return 0, 0, err
		}
	}
	for _, key := range sortedKeys(owners) {
		gone, err := q.release(key)
		if err != nil {
			return 0, 0, err
		}
		events += gone
	}
	return attempts, events, nil
}

// release removes an event none of whose deliveries is left.
func (q *session) release(key int64) (gone int, err error) {
	head, err := q.eventHead(key)
	if err != nil || head == nil {
		return 0, err
	}
	left, err := q.existing(head.deliveries)
	if err != nil || len(left) > 0 {
		return 0, err
	}
	return 1, q.exec(`DELETE FROM webhook_event WHERE key = ?`, key)
}

// events removes old events that never had a delivery, and bulk retries that are over.
func (p *pruning) events(int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	if err := p.exec(`DELETE FROM webhook_bulk WHERE state IN (?, ?) AND updated_at < ?`,
		string(webhook.BulkRetryDone), string(webhook.BulkRetryCanceled), ceilMicro(p.request.FinishedBefore)); err != nil {
		return none, true, err
	}
	n, err := p.changed(`DELETE FROM webhook_event WHERE key IN (
		SELECT key FROM webhook_event INDEXED BY webhook_event_lonely
		WHERE deliveries IS NULL AND created_at < ? LIMIT ?)`, ceilMicro(p.request.FinishedBefore), int64(p.left))
	p.result.Events += int(n)
	done = int(n) < p.left
	p.left -= int(n)
	return none, done, err
}

// hours removes counters of hours before what is kept, endpoint by endpoint, sums included.
func (p *pruning) hours(after int64) (next int64, done bool, err error) {
	if p.request.FinishedBefore.IsZero() {
		return 0, true, nil
	}
	found, err := p.one(func(r row) { next = r.int(0) },
		`SELECT endpoint FROM webhook_stat WHERE endpoint > ? ORDER BY endpoint LIMIT 1`, after)
	if err != nil || !found {
		return 0, true, err
	}
	p.left--
	before := p.request.FinishedBefore.UnixMicro()
	return next, false, p.exec(`DELETE FROM webhook_stat WHERE endpoint = ? AND hour > 0 AND hour < ?`,
		next, before-before%hour)
}
