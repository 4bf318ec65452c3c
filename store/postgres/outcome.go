package postgres

import (
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
)

// rememberRows takes up the rows of outcomes that are remembered, and returns the keys of the others and of
// returns.
func (c *commit) rememberRows() (keys []int64) {
	add := func(deliveryID string) {
		if key, _, ok := id.Split(id.Delivery, deliveryID); ok {
			keys = append(keys, key)
		}
	}
	if c.careful || c.s.bound {
		clear(c.rows)
		for i := range c.batch.Outcomes {
			add(c.batch.Outcomes[i].DeliveryID)
		}
	} else {
		keys = c.s.handed.find(c.batch.Outcomes, c.rows)
	}
	for i := range c.batch.Returned {
		add(c.batch.Returned[i].DeliveryID)
	}
	return keys
}

// lockRows reads and locks rows, with the health of their endpoints and of those of the rows that are
// remembered.
func (c *commit) lockRows(keys []int64) []*statement {
	list := c.readHealths()
	if len(keys) == 0 {
		return list
	}
	return append(list, &statement{sql: `SELECT ` + deliveryColumns + `, e.ordered, ` + healthColumns + `
		FROM webhook.delivery d JOIN webhook.endpoint e ON e.num = d.endpoint JOIN webhook.health h ON h.endpoint = d.endpoint
		WHERE d.key = ANY($1::bigint[]) ORDER BY d.key FOR UPDATE OF d`, args: []any{keys}, scan: func(r row) error {
		var h health
		d, err := scanDelivery(r, append([]any{&h.ordered}, h.into()...)...)
		c.rows[d.key] = d
		if c.health[d.endpoint] == nil {
			c.health[d.endpoint] = &h
		}
		return err
	}})
}

// readHealths reads those of the endpoints of deliveries that are remembered.
func (c *commit) readHealths() []*statement {
	var nums []int64
	for _, d := range c.rows {
		if !slices.Contains(nums, d.endpoint) {
			nums = append(nums, d.endpoint)
		}
	}
	if len(nums) == 0 {
		return nil
	}
	return []*statement{{sql: `SELECT h.endpoint, e.ordered, ` + healthColumns + `
		FROM webhook.health h JOIN webhook.endpoint e ON e.num = h.endpoint WHERE h.endpoint = ANY($1::bigint[])`,
		args: []any{nums}, scan: func(r row) error {
			var num int64
			var h health
			err := r.Scan(append([]any{&num, &h.ordered}, h.into()...)...)
			c.health[num] = &h
			return err
		}}}
}

// outcomes takes up what became of claims, and claims handed back.
func (c *commit) outcomes() error {
	for i := range c.batch.Outcomes {
		r, err := c.outcome(&c.batch.Outcomes[i])
		if err != nil {
			return err
		}
		c.result.Outcomes[i] = r
	}
	for _, r := range c.batch.Returned {
		c.giveBack(r)
	}
	if err := c.flushOutcomes(); err != nil {
		return err
	}
	return c.saveHealth()
}

func (c *commit) outcome(o *webhook.Outcome) (webhook.OutcomeResult, error) {
	key, rest, ok := id.Split(id.Delivery, o.DeliveryID)
	d := c.rows[key]
	if !ok || d == nil || d.rest != rest {
		return webhook.OutcomeResult{}, nil
	}
	live := d.owner != "" && d.lease == o.Lease
	rec := record{delivery: d, lease: o.Lease, number: d.attempts + 1, given: o.Attempt}
	if !live || d.state != pending || c.careful {
		if r, done, err := c.examine(o, &rec); done || err != nil {
			return r, err
		}
	}
	won := o.Attempt != nil && o.Attempt.Status == webhook.AttemptSucceeded
	applied := won || live && d.state == pending
	if live {
		d.owner, d.leasedAt = "", none
		if d.state != pending {
			d.nextAt = none
		}
	}
	if applied {
		c.apply(d, o, won)
	}
	if o.Attempt != nil {
		rec.applied = applied
		if err := c.record(&rec); err != nil {
			return webhook.OutcomeResult{}, err
		}
		c.observe(d.endpoint, o.Attempt, applied && d.state == exhausted)
	}
	d.updatedAt = c.now
	c.changed(d)
	if c.health[d.endpoint].ordered {
		c.notes.unblock(d.endpoint)
	}
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
	var replaces int64
	var body []byte
	found, err := c.one(`SELECT key, body FROM webhook.attempt WHERE delivery = $1 AND lease = $2`,
		[]any{d.key, o.Lease}, &replaces, &body)
	if err != nil {
		return r, false, err
	}
	if found {
		b, err := packed.UnpackBody(body, 0, &webhook.DeliveryAttempt{})
		if err != nil || !b.Lost {
			return webhook.OutcomeResult{Applied: b.Applied}, true, err
		}
		rec.replaces, rec.number = replaces, b.Number
	}
	if key, _, ok := id.Split(id.Attempt, o.Attempt.ID); !ok {
		r.Taken = true
	} else if !found || key != rec.replaces {
		var one int64
		r.Taken, err = c.one(`SELECT 1 FROM webhook.attempt WHERE key = $1`, []any{key}, &one)
	}
	if err != nil || r.Taken {
		return r, r.Taken, err
	}
	if d.state != pending {
		// Its event may have been erased; of a pending delivery it never is.
		head, err := c.eventOf(d.event)
		if err != nil {
			return r, false, err
		}
		rec.erased = head != nil && head.erased
	}
	return r, false, nil
}

func (c *commit) apply(d *delivery, o *webhook.Outcome, won bool) {
	d.failed, d.uncharged, d.deferrals = int64(o.Failed), int64(o.Uncharged), int64(o.Deferrals)
	if o.Attempt == nil {
		d.settled = o.Lease
		d.plainTrigger()
	} else {
		d.trigger, d.bulk = triggerAutomatic, ""
	}
	switch {
	case won:
		d.end(succeeded, "", c.now)
	case o.State.Final():
		d.end(number(deliveryStates, o.State), string(o.FailureCode), c.now)
	default:
		d.dueAt = o.NextAt.UnixMicro()
		d.nextAt = d.dueAt
		c.notes.lower(d.endpoint, d.nextAt, d.key, 0, c.health[d.endpoint].ordered)
	}
}

// flushOutcomes writes what was gathered of attempts and deliveries.
func (c *commit) flushOutcomes() error {
	var list []*statement
	var want []int64
	if n := c.attempts.n; n > 0 {
		list, want = append(list, c.attempts.statement()), append(want, int64(n))
	}
	s, plain := newSaver(), handedColumns{}
	for _, key := range sortedKeys(c.rows) {
		d := c.rows[key]
		switch {
		case !d.dirty:
		case d.remembered:
			plain.add(d)
			d.dirty = false
		default:
			s.save(d)
		}
	}
	list = append(list, s.statements()...)
	if len(plain.keys) > 0 {
		list = append(list, plain.statement(c.now))
	}
	list = append(list, c.pruneFrom()...)
	return c.write(list, want)
}

// pruneFrom sees to it that Prune finds the details of attempts that stand among those where it has been already. One
// that is at it ends first.
func (c *commit) pruneFrom() []*statement {
	if c.earliest == 0 || c.earliest >= id.KeyAt(c.batch.Now.Add(-youngKey)) {
		return nil
	}
	to := c.earliest - 1
	c.earliest = 0
	return []*statement{
		{sql: `SELECT pg_advisory_xact_lock_shared($1)`, args: []any{c.s.lockKey("details")}, scan: func(row) error { return nil }},
		{sql: `UPDATE webhook.progress SET pruned_to = $1 WHERE pruned_to > $1`, args: []any{to}},
	}
}

func (c *commit) giveBack(r webhook.Return) {
	key, rest, ok := id.Split(id.Delivery, r.DeliveryID)
	d := c.rows[key]
	if !ok || d == nil || d.rest != rest || d.owner == "" || d.lease != r.Lease {
		return
	}
	ordered := c.health[d.endpoint].ordered
	d.owner, d.leasedAt = "", none
	d.plainTrigger()
	if d.state == pending {
		d.nextAt = d.dueAt
		c.notes.lower(d.endpoint, d.nextAt, d.key, 0, ordered)
		c.announce = c.announce || d.nextAt <= c.now+soon
	} else {
		d.nextAt = none
	}
	if ordered {
		c.notes.unblock(d.endpoint)
	}
	c.changed(d)
}

// changed has a row written.
func (c *commit) changed(d *delivery) {
	d.dirty = true
	c.stats.count(d)
	c.done = append(c.done, d.key)
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
		if err := c.exec(`DELETE FROM webhook.attempt WHERE key = $1`, rec.replaces); err != nil {
			return err
		}
	} else {
		rec.delivery.attempts++
	}
	if !addAttempt(&c.attempts, rec, c.now) {
		return errAgain // the careful way answers that the ID cannot be kept
	}
	if key, _, _ := id.Split(id.Attempt, rec.given.ID); key == rec.delivery.key && (c.earliest == 0 || key < c.earliest) {
		c.earliest = key
	}
	rec.delivery.summarise(rec)
	return nil
}

// summarise keeps the last attempt on the delivery's row.
func (d *delivery) summarise(rec *record) {
	if rec.number < d.attempts {
		return
	}
	a := rec.given
	d.lastAt, d.lastCode = a.StartedAt.UnixMicro(), string(a.ErrorCode)
	d.lastStatus, d.lastError = none, nil
	if a.StatusCode != nil {
		d.lastStatus = int64(*a.StatusCode)
	} else {
		d.lastError = []byte(a.Error)
	}
}

// health is an endpoint's, read and perhaps changed by a commit.
type health struct {
	failingSince, failures, exhausted, lastSuccessAt, lastFailureAt int64
	ordered                                                         bool
	seen                                                            []seenAttempt
}

// seenAttempt is what an attempt says about an endpoint.
type seenAttempt struct {
	*webhook.DeliveryAttempt
	exhausted bool
}

var healthColumns = `h.failures, h.exhausted, ` + nullable("h.failing_since", "h.last_success_at", "h.last_failure_at")

func (h *health) into() []any {
	return []any{&h.failures, &h.exhausted, &h.failingSince, &h.lastSuccessAt, &h.lastFailureAt}
}

func (h *health) public() webhook.EndpointHealth {
	return webhook.EndpointHealth{
		FailingSince: timeOf(h.failingSince), Failures: h.failures, Exhausted: h.exhausted,
		LastSuccessAt: timeOf(h.lastSuccessAt), LastFailureAt: timeOf(h.lastFailureAt),
	}
}

func healthOf(e webhook.EndpointHealth) health {
	return health{
		failingSince: micro(e.FailingSince), failures: e.Failures, exhausted: e.Exhausted,
		lastSuccessAt: micro(e.LastSuccessAt), lastFailureAt: micro(e.LastFailureAt),
	}
}

// observe adds an attempt to the endpoint's hours, and notes it for its health. Interrupted ones say
// nothing about the endpoint, and canceled ones nothing about its health.
func (c *commit) observe(endpoint int64, a *webhook.DeliveryAttempt, exhausted bool) {
	c.stats.attempt(endpoint, a)
	if a.Status == webhook.AttemptFailed || a.Status == webhook.AttemptSucceeded {
		h := c.health[endpoint]
		h.seen = append(h.seen, seenAttempt{a, exhausted})
	}
}

// after is the health once all that was seen has been taken in.
func (h health) after() health {
	was := h.public()
	now := was
	for _, a := range h.seen {
		if a.Status == webhook.AttemptSucceeded {
			now.FailingSince, now.Failures, now.Exhausted = time.Time{}, 0, 0
			now.LastSuccessAt = later(now.LastSuccessAt, a.CompletedAt.Truncate(time.Minute).UTC())
			continue
		}
		if now.FailingSince.IsZero() {
			now.FailingSince = whole(a.StartedAt)
		}
		now.Failures++
		now.LastFailureAt = later(now.LastFailureAt, whole(a.CompletedAt))
		if a.exhausted {
			now.Exhausted++
		}
	}
	return healthOf(now)
}

var saveHealths = updating("webhook.health",
	`endpoint failing_since? failures exhausted last_success_at? last_failure_at?`, 1)

// saveHealth writes the health that changed. Most commits change none, and then no row is locked; the
// others read it again under the lock, since another process may have counted in between.
func (c *commit) saveHealth() error {
	if c.plain {
		c.plainHealth()
		return nil
	}
	var changed []int64
	for _, num := range sortedKeys(c.health) {
		h := c.health[num]
		if now := h.after(); now.public() != h.public() {
			changed = append(changed, num)
		}
	}
	if len(changed) > 0 {
		if err := c.query(func(r row) error {
			var num int64
			var h health
			err := r.Scan(append([]any{&num}, h.into()...)...)
			h.seen, h.ordered = c.health[num].seen, c.health[num].ordered
			c.health[num] = &h
			return err
		}, `SELECT h.endpoint, `+healthColumns+` FROM webhook.health h WHERE endpoint = ANY($1::bigint[])
			ORDER BY endpoint FOR UPDATE`, changed); err != nil {
			return err
		}
		g := gathered{form: saveHealths}
		for _, num := range changed {
			h := c.health[num].after()
			c.health[num].failingSince, c.health[num].failures, c.health[num].exhausted = h.failingSince, h.failures, h.exhausted
			c.health[num].lastSuccessAt, c.health[num].lastFailureAt, c.health[num].seen = h.lastSuccessAt, h.lastFailureAt, nil
			g.add(num, h.failingSince, h.failures, h.exhausted, h.lastSuccessAt, h.lastFailureAt)
		}
		c.last = append(c.last, g.statement())
	}
	return nil
}

// answerHealth tells what the endpoints' health is, once that is known.
func (c *commit) answerHealth() {
	for i := range c.batch.Outcomes {
		key, rest, ok := id.Split(id.Delivery, c.batch.Outcomes[i].DeliveryID)
		if d := c.rows[key]; ok && d != nil && d.rest == rest {
			c.result.Outcomes[i].Health = c.health[d.endpoint].public()
		}
	}
}

var succeedFields = fieldsOf(`endpoint at`)

// Most successes change nothing, and then lock no row.
var succeedHealths = &form{succeedFields, `UPDATE webhook.health t SET failing_since = NULL, failures = 0, exhausted = 0,
	last_success_at = greatest(t.last_success_at, u.at) FROM ` + unnest(succeedFields, 0) + `
	WHERE t.endpoint = u.endpoint AND (t.failures > 0 OR t.exhausted > 0 OR t.failing_since IS NOT NULL
		OR t.last_success_at IS NULL OR t.last_success_at < u.at)`}

// plainHealth is saveHealth where all is success, without reading before: what the health is now comes with
// the COMMIT.
func (c *commit) plainHealth() {
	if len(c.health) == 0 {
		return
	}
	g := gathered{form: succeedHealths}
	for _, num := range sortedKeys(c.health) {
		g.add(num, c.health[num].after().lastSuccessAt)
		c.health[num].seen = nil
	}
	c.last = append(append(c.last, g.statement()), c.readHealths()...)
}

var insertAttempts = insertingNew("webhook.attempt",
	`key delivery lease endpoint started_at completed_at updated_at? detail_pruned_at? status tenant:text bulk:text?
	error_code:text? body:blob capture:blob`, "")

// addAttempt gathers an attempt's row. It returns false if the ID cannot be kept.
func addAttempt(in *gathered, rec *record, now int64) bool {
	a, d := rec.given, rec.delivery
	key, rest, ok := id.Split(id.Attempt, a.ID)
	if !ok {
		return false
	}
	body := packed.Body{Rest: rest, Number: rec.number, Created: now, Applied: rec.applied, Lost: rec.lost}
	updated := now
	if !a.CreatedAt.IsZero() {
		body.Created = a.CreatedAt.UnixMicro()
	}
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
	in.add(key, d.key, rec.lease, d.endpoint, a.StartedAt.UnixMicro(), a.CompletedAt.UnixMicro(), updated, prunedAt,
		number(attemptStatuses, a.Status), d.tenant, a.BulkRetryID, string(a.ErrorCode), body.Pack(a), capture)
	return true
}
