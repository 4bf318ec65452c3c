package sqldb

import (
	"errors"
	"slices"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
)

// outcomes takes up what became of claims. The rows are read in one go and written at the end; only
// what does not hold its live lease is looked at more closely.
func (c *commit) outcomes() error {
	if len(c.batch.Outcomes) == 0 {
		return nil
	}
	if err := c.readRows(); err != nil {
		return err
	}
	for i := range c.batch.Outcomes {
		r, err := c.outcome(&c.batch.Outcomes[i])
		if err != nil {
			return err
		}
		c.result.Outcomes[i] = r
	}
	if err := c.flushOutcomes(); err != nil {
		return err
	}
	if err := c.tidyHanded(); err != nil {
		return err
	}
	if err := c.heads.flush(c.session); err != nil {
		return err
	}
	return c.saveHealth()
}

func (c *commit) readRows() error {
	c.rows = make(map[int64]*delivery, len(c.batch.Outcomes))
	remembers := c.s.handed
	if c.careful {
		remembers = &handed{}
	}
	known, keys := remembers.find(c.batch.Outcomes)
	gone, err := c.takeHanded(known)
	if err != nil {
		return err
	}
	keys = append(keys, gone...)
	if keys, err = c.readOthers(keys); err != nil {
		return err
	}
	if unfolded, err := c.unfold(keys...); err != nil {
		return err
	} else if unfolded {
		if _, err := c.readOthers(keys); err != nil {
			return err
		}
	}
	return c.readHealth()
}

// takeHanded takes up what stands in webhook_handed as it is remembered, and returns the keys of the rest.
func (c *commit) takeHanded(known []first) (gone []int64, err error) {
	stands := map[int64]bool{}
	for i := range known {
		stands[known[i].list.key] = false
	}
	err = inKeys(sortedKeys(stands), func(marks string, args []any) error {
		return c.query(func(r row) error {
			stands[r.int(0)] = true
			return nil
		}, `SELECT key FROM webhook_handed WHERE key IN (`+marks+`)`, args...)
	})
	if err != nil {
		return nil, err
	}
	for i := range known {
		f := &known[i]
		if !stands[f.list.key] {
			c.s.handed.forget(f.list)
			gone = append(gone, f.key)
		} else if c.rows[f.key] == nil {
			c.rows[f.key] = f.delivery()
			c.rows[f.key].folded = f
		}
	}
	return gone, nil
}

// readOthers reads the rows of deliveries and returns the keys of those that have none.
func (c *commit) readOthers(keys []int64) (missing []int64, err error) {
	unread := func(key int64) bool { return c.rows[key] != nil }
	if err := c.firstTries(keys, c.rows); err != nil {
		return nil, err
	}
	keys = slices.DeleteFunc(keys, unread)
	if err := c.deliveriesByKey(keys, c.rows); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(keys, unread), nil
}

func (c *commit) outcome(o *webhook.Outcome) (webhook.OutcomeResult, error) {
	key, rest, ok := id.Split(id.Delivery, o.DeliveryID)
	d := c.rows[key]
	if !ok || d == nil || d.rest != rest {
		return webhook.OutcomeResult{}, nil
	}
	live := d.owner != 0 && d.lease == o.Lease
	rec := record{delivery: d, lease: o.Lease, number: d.attempts + 1, given: o.Attempt}
	if !live || d.state != pending || c.careful {
		if r, done, err := c.examine(o, &rec); done || err != nil {
			return r, err
		}
	}
	won := o.Attempt != nil && o.Attempt.Status == webhook.AttemptSucceeded
	applied := won || live && d.state == pending
	before := d.state
	if live {
		d.owner, d.leasedAt = 0, none
	}
	if applied {
		if err := c.apply(d, o, won); err != nil {
			return webhook.OutcomeResult{}, err
		}
	}
	if o.Attempt != nil {
		rec.applied = applied
		if err := c.record(&rec); err != nil {
			return webhook.OutcomeResult{}, err
		}
		c.observe(d.endpoint, o.Attempt, applied && d.state == exhausted)
	}
	d.updatedAt, d.dirty = c.now, true
	c.stats.move(d.endpoint, before, d.state)
	return webhook.OutcomeResult{Applied: applied}, nil
}

// examine finds out whether an outcome was committed before, or its attempt's ID is taken, or it comes
// late for a lease that Claim gave up on.
func (c *commit) examine(o *webhook.Outcome, rec *record) (r webhook.OutcomeResult, done bool, err error) {
	d := rec.delivery
	if o.Attempt == nil {
		again := d.settled == o.Lease && o.Lease != 0
		return webhook.OutcomeResult{Applied: again}, again, nil
	}
	if err := c.flushOutcomes(); err != nil {
		return r, false, err
	}
	var damaged error
	found, err := c.one(func(row row) {
		var b packed.Body
		b, damaged = packed.UnpackBody(row.bytes(1), 0, &webhook.DeliveryAttempt{})
		rec.replaces, rec.number = row.int(0), b.Number
		r.Applied, done = b.Applied, !b.Lost
	}, `SELECT key, body FROM webhook_attempt WHERE key <> delivery AND delivery = ? AND lease = ?
		UNION ALL SELECT key, body FROM webhook_attempt WHERE key = ? AND delivery = key AND lease = ?`,
		d.key, o.Lease, d.key, o.Lease)
	if err = errors.Join(err, damaged); err != nil || found && done {
		return r, done, err
	}
	if key, _, ok := id.Split(id.Attempt, o.Attempt.ID); ok && (!found || key != rec.replaces) {
		r.Taken, err = c.one(func(row) {}, `SELECT 1 FROM webhook_attempt WHERE key = ?`, key)
	} else {
		r.Taken = !ok
	}
	if err != nil || r.Taken {
		return r, r.Taken, err
	}
	if d.state != pending {
		// Its event may have been erased; of a pending delivery it never is.
		head, err := c.eventHead(d.event)
		if err != nil {
			return r, false, err
		}
		rec.erased = head != nil && head.erased
	}
	return r, false, nil
}

func (c *commit) apply(d *delivery, o *webhook.Outcome, won bool) (err error) {
	d.failed, d.uncharged, d.deferrals = int64(o.Failed), int64(o.Uncharged), int64(o.Deferrals)
	if o.Attempt == nil {
		d.settled = o.Lease
		d.plainTrigger()
	} else {
		d.trigger, d.bulk = triggerAutomatic, 0
	}
	switch {
	case won:
		d.end(succeeded, 0, c.now)
	case o.State.Final():
		code, err := c.internOpt(string(o.FailureCode))
		if err != nil {
			return err
		}
		d.end(number(deliveryStates, o.State), code, c.now)
	default:
		d.dueAt = o.NextAt.UnixMicro()
		d.nextAt = d.dueAt
		h := c.health[d.endpoint]
		c.heads.lower(d.endpoint, d.nextAt, h.held, d.key, h.ordered)
	}
	return nil
}

// lower makes Claim look at a pending delivery in time. Its endpoint's head, if there is one, knows
// better than the caller whether it is held or ordered.
func (q *session) lower(d *delivery) error {
	changed, err := q.changed(`UPDATE webhook_head SET next_at = min(next_at, ?), first_key = min(first_key, ?)
		WHERE endpoint = ?`, d.nextAt, d.key, d.endpoint)
	if err != nil || changed > 0 {
		return err
	}
	return q.exec(`INSERT INTO webhook_head (endpoint, next_at, held, first_key)
		SELECT num, ?, state > 0, CASE WHEN ordered THEN ? END FROM webhook_endpoint WHERE num = ?`,
		d.nextAt, d.key, d.endpoint)
}

// unblock makes Claim look at an ordered endpoint, since the delivery that others wait for may have
// ended. From when on the next one may be claimed is for Claim to see; 0 is never too late.
func (q *session) unblock(endpoint int64) error {
	return q.exec(`UPDATE webhook_head SET next_at = 0 WHERE endpoint = ? AND first_key IS NOT NULL AND next_at > 0`, endpoint)
}

// flushOutcomes writes what was gathered of attempts and deliveries.
func (c *commit) flushOutcomes() error {
	all, err := c.attempts.flush(c.session)
	if err != nil {
		return err
	}
	if !all {
		return errAgain
	}
	if c.earliest < newest { // details are pruned in the order of keys
		if err := c.exec(`UPDATE webhook_meta SET value = ? WHERE name = 'pruned_to' AND value >= ?`, c.earliest-1, c.earliest); err != nil {
			return err
		}
		c.earliest = newest
	}
	successes, ends := inserter{inserts: saveSuccesses}, inserter{inserts: insertSuccesses}
	others := inserter{inserts: insertWhole}
	same, other := inserter{inserts: saveWaiting}, inserter{inserts: saveWaitingCode}
	now := any(c.now)
	for _, key := range sortedKeys(c.rows) {
		d := c.rows[key]
		if !d.dirty {
			continue
		}
		plain := !c.careful && d.plainSuccess(c.now)
		switch {
		case d.folded != nil && plain && d.own == 1:
			ends.add(d.key, d.rest, d.event, d.endpoint, d.tenant, d.typ, d.lastAt, opt(d.lastStatus), d.createdAt, now, now)
		case d.folded != nil:
			others.add(append(d.changing(), d.rest, d.event, d.endpoint, d.tenant, d.typ, opt(d.expiresAt), d.createdAt)...)
		case plain:
			successes.add(d.key, d.lastAt, opt(d.lastStatus), now, d.own)
		case d.waits() && d.lastCode == d.stored.lastCode:
			same.add(d.waiting()...)
		case d.waits():
			other.add(append(d.waiting(), ref(d.lastCode))...)
		default:
			if err := c.save(d); err != nil {
				return err
			}
		}
		if d.folded != nil {
			c.unfolded = append(c.unfolded, *d.folded)
			d.folded = nil
		}
		d.dirty, d.firstTry, d.stored = false, false, d.listed()
	}
	for _, in := range []*inserter{&successes, &ends, &others, &same, &other} {
		if all, err := in.flush(c.session); err != nil || !all {
			return errOr(err, func() error { return errAgain }) // some are not as they went in
		}
	}
	return nil
}

// tidyHanded removes lists that are over, and unfolds one if those that are not become too many.
func (c *commit) tidyHanded() error {
	over := c.s.handed.over(c.unfolded)
	if err := inKeys(over, func(marks string, args []any) error {
		return c.exec(`DELETE FROM webhook_handed WHERE key IN (`+marks+`)`, args...)
	}); err != nil {
		return err
	}
	if key, found := c.s.handed.tooLong(); found {
		return c.unfoldWhere(`WHERE key = ?`, key)
	}
	return nil
}

func (c *commit) giveBack(r webhook.Return) error {
	key, rest, ok := id.Split(id.Delivery, r.DeliveryID)
	if !ok {
		return nil
	}
	d, err := c.deliveryToChange(key)
	if err != nil || d == nil || d.rest != rest || d.owner == 0 || d.lease != r.Lease {
		return err
	}
	before := d.state
	d.owner, d.leasedAt = 0, none
	d.plainTrigger()
	if d.state == pending {
		d.nextAt = d.dueAt
		if err := c.lower(d); err != nil {
			return err
		}
	}
	c.stats.move(d.endpoint, before, d.state)
	if err := c.unblock(d.endpoint); err != nil {
		return err
	}
	return c.save(d)
}

// record is an attempt on its way into its row.
type record struct {
	*delivery
	lease, number int64
	given         *webhook.DeliveryAttempt
	replaces      int64 // the key of the interrupted attempt of the same lease
	applied       bool
	lost          bool // Claim writes it
	erased        bool // its event's payload is gone, and so must be what was captured
}

// record stores an attempt under its lease, in the place of an interrupted one or with the next number.
func (c *commit) record(rec *record) error {
	if rec.replaces != 0 {
		if err := c.exec(`DELETE FROM webhook_attempt WHERE key = ?`, rec.replaces); err != nil {
			return err
		}
	} else {
		rec.delivery.attempts++
	}
	code, err := c.addAttempt(&c.attempts, rec, c.now)
	if err != nil {
		return err
	}
	if rec.delivery.own == 1 {
		c.earliest = min(c.earliest, rec.delivery.key)
	}
	rec.delivery.summarise(rec, code)
	if !c.careful && rec.replaces == 0 {
		return nil
	}
	return c.flushOutcomes()
}

// summarise keeps the last attempt on the delivery's row.
func (d *delivery) summarise(rec *record, code int64) {
	if rec.number < d.attempts {
		return
	}
	a := rec.given
	d.lastAt, d.lastCode = a.StartedAt.UnixMicro(), code
	d.lastStatus, d.lastError = none, ""
	if a.StatusCode != nil {
		d.lastStatus = int64(*a.StatusCode)
	} else {
		d.lastError = a.Error
	}
}

var insertAttempts = newTableInserts("webhook_attempt",
	`key, delivery, lease, endpoint, tenant, status, started_at, completed_at, body, capture`,
	`error_code, updated_at, detail_pruned_at`)

// addAttempt gathers an attempt's row and returns the number of its error code.
func (q *session) addAttempt(in *inserter, rec *record, now int64) (code int64, err error) {
	a, d := rec.given, rec.delivery
	key, rest, ok := id.Split(id.Attempt, a.ID)
	if !ok {
		return 0, errAgain // the careful way answers that the ID cannot be kept
	}
	if code, err = q.internOpt(string(a.ErrorCode)); err != nil {
		return 0, err
	}
	if key == d.key {
		d.own = 1
	}
	body := packed.Body{Rest: rest, Number: rec.number, Created: now, Applied: rec.applied, Lost: rec.lost}
	if body.Bulk, err = q.internOpt(a.BulkRetryID); err != nil {
		return 0, err
	}
	if !a.CreatedAt.IsZero() {
		body.Created = a.CreatedAt.UnixMicro()
	}
	updated := now
	if !a.UpdatedAt.IsZero() {
		updated = a.UpdatedAt.UnixMicro()
	}
	capture, prunedAt := packed.Capture(a), microPtr(a.DetailPrunedAt)
	if rec.erased && capture != nil {
		capture, prunedAt, updated = nil, now, now
	}
	if updated == body.Created {
		updated = none
	}
	in.add(key, d.key, rec.lease, d.endpoint, d.tenant, number(attemptStatuses, a.Status),
		a.StartedAt.UnixMicro(), a.CompletedAt.UnixMicro(), body.Pack(a), orNull(capture),
		ref(code), opt(updated), prunedAt)
	return code, nil
}

// orNull is the column of a blob that may be nil.
func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// sortedKeys gives writes an order, so that equal batches do equal work.
func sortedKeys[V any](m map[int64]V) []int64 {
	keys := make([]int64, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
