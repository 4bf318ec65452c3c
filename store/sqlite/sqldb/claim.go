package sqldb

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"sync"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// lookAhead is how many endpoints a Claim that only looks will look at.
const lookAhead = 256

// ring remembers where the last Claim stopped among the due heads, so that the next goes on from
// there and no endpoint waits for ever behind others. It is a hint only.
type ring struct {
	mu sync.Mutex
	at position
}

// position is a place in the order of heads.
type position struct{ nextAt, endpoint int64 }

func (r *ring) get() position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

func (r *ring) set(at position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = at
}

// Claim implements [webhook.Store]. It looks without the write lock first: most polls find nothing.
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (result webhook.ClaimResult, err error) {
	run := func(q *session) error {
		c := &claim{session: q, request: &r, now: r.Now.UnixMicro(), until: r.LeaseUntil.UnixMicro()}
		if err := c.run(); err != nil {
			return err
		}
		result = c.result
		return nil
	}
	if r.Limit <= 0 {
		err = s.read(ctx, run)
		return result, err
	}
	due := false
	err = s.read(ctx, func(q *session) error {
		c := &claim{session: q, request: &r, now: r.Now.UnixMicro()}
		if err := c.collect(); err != nil {
			return err
		}
		if due = len(c.ready) > 0; due {
			return nil
		}
		err := c.conclude()
		result = c.result
		return err
	})
	if err != nil || !due {
		return result, err
	}
	for range 3 {
		if err = s.write(ctx, run); !errors.Is(err, errTaken) {
			break
		}
	}
	if err != nil {
		return webhook.ClaimResult{}, err
	}
	return result, nil
}

// errTaken: the ID of an interrupted attempt stands for another.
var errTaken = errors.New("sqlite: the ID of an attempt is taken")

// claim is one call of Claim.
type claim struct {
	*session
	request    *webhook.ClaimRequest
	now, until int64
	ready      []*taking // due endpoints, in the order of their heads from where the last call stopped
	skipped    []*taking // due ones that are set aside
	everything bool      // no due endpoint was left out
	taken      []*delivery
	by         []*taking // whose each of them is
	result     webhook.ClaimResult
}

// taking is a due endpoint that gives deliveries.
type taking struct {
	position
	endpointID, url      string
	tenant               int64
	ordered              bool
	firstKey, releasedAt int64
	allowed              int
	queue                []*delivery // read and not yet taken
	last                 position    // of the last one read: nextAt and key
	empty                bool
	gave                 int64
}

func (c *claim) run() error {
	if err := c.collect(); err != nil {
		return err
	}
	if c.request.Limit <= 0 {
		return c.look()
	}
	c.turn()
	if err := c.take(); err != nil {
		return err
	}
	if err := c.lease(); err != nil {
		return err
	}
	for _, t := range c.ready {
		if err := c.correct(t.endpoint, t.ordered, t.firstKey, c.now); err != nil {
			return err
		}
	}
	if err := c.addEvents(); err != nil {
		return err
	}
	return c.conclude()
}

// collect finds as many due endpoints as could matter: each gives at least one delivery.
func (c *claim) collect() error {
	want := c.request.Limit
	if want <= 0 {
		want = lookAhead
	}
	start := c.s.ring.get()
	if c.request.Limit <= 0 {
		start = position{nextAt: none}
	}
	if err := c.collectFrom(start, position{nextAt: c.now, endpoint: 1<<63 - 1}, want); err != nil {
		return err
	}
	if len(c.ready) < want && start.nextAt != none {
		if err := c.collectFrom(position{nextAt: none}, start, want); err != nil {
			return err
		}
	}
	c.everything = len(c.ready) < want
	return nil
}

// turn makes the next Claim go on where this one stopped.
func (c *claim) turn() {
	at := position{nextAt: none}
	if !c.everything {
		at = c.ready[len(c.ready)-1].position
	}
	c.s.ring.set(at)
}

// collectFrom reads due heads after one position and up to another.
func (c *claim) collectFrom(after, to position, want int) error {
	if after.nextAt > to.nextAt {
		return nil
	}
	return c.query(func(r row) error {
		t := &taking{
			position:   position{r.int(0), r.int(1)},
			endpointID: id.Join(id.Endpoint, r.int(3), r.int(4)), url: r.str(5), ordered: r.int(6) != 0,
			releasedAt: r.opt(7), tenant: r.int(8), last: position{nextAt: none},
		}
		t.firstKey = r.int(2)
		t.allowed = c.allowance(t.endpointID)
		if t.allowed > 0 || c.request.Limit <= 0 && !c.aside(t.endpointID) {
			c.ready = append(c.ready, t)
		} else if len(c.skipped) < lookAhead {
			c.skipped = append(c.skipped, t)
		}
		if len(c.ready) >= want {
			return errStop
		}
		return nil
	}, `SELECT h.next_at, h.endpoint, h.first_key, e.key, e.rest, e.url, e.ordered, e.released_at, e.tenant
		FROM webhook_head h INDEXED BY webhook_head_next CROSS JOIN webhook_endpoint e ON e.num = h.endpoint
		WHERE h.held = 0 AND (h.next_at, h.endpoint) > (?, ?) AND (h.next_at, h.endpoint) <= (?, ?)
			AND h.next_at <= ?
		ORDER BY h.next_at, h.endpoint`,
		after.nextAt, after.endpoint, to.nextAt, to.endpoint, c.now)
}

// aside reports whether an endpoint is excluded or capped at nothing.
func (c *claim) aside(endpointID string) bool {
	if slices.Contains(c.request.Exclude, endpointID) {
		return true
	}
	n, capped := c.request.Caps[endpointID]
	return capped && n <= 0
}

func (c *claim) allowance(endpointID string) int {
	if c.aside(endpointID) {
		return 0
	}
	if n, ok := c.request.Caps[endpointID]; ok {
		return n
	}
	if c.request.PerEndpoint > 0 {
		return c.request.PerEndpoint
	}
	return c.request.Limit
}

// take goes round the ready endpoints, one delivery of each at a time.
func (c *claim) take() error {
	share := c.request.Limit
	if n := len(c.ready); n > 0 {
		share = (c.request.Limit + n - 1) / n
	}
	for more := true; more; {
		more = false
		for _, t := range c.ready {
			if len(c.taken) >= c.request.Limit {
				return nil
			}
			if t.allowed == 0 {
				continue
			}
			if err := c.fill(t, min(share, t.allowed)); err != nil {
				return err
			}
			if len(t.queue) == 0 {
				continue
			}
			c.taken, c.by = append(c.taken, t.queue[0]), append(c.by, t)
			t.queue = t.queue[1:]
			t.allowed--
			t.gave++
			more = true
		}
	}
	return nil
}

// fill reads the next n due deliveries of an endpoint once those read before are taken.
func (c *claim) fill(t *taking, n int) error {
	if len(t.queue) > 0 || t.empty {
		return nil
	}
	if t.ordered {
		t.empty = true
		d, from, err := c.first(t.endpoint, t.firstKey, c.now)
		if err == nil && d != nil && from <= c.now {
			t.queue = []*delivery{d}
		}
		return err
	}
	err := c.query(func(r row) error {
		t.queue = append(t.queue, scanDelivery(r))
		return nil
	}, `SELECT `+deliveryColumns+` FROM webhook_delivery INDEXED BY webhook_delivery_pending
		WHERE state = 0 AND endpoint = ? AND (next_at, key) > (?, ?) AND next_at <= ?
		ORDER BY next_at, key LIMIT ?`, t.endpoint, t.last.nextAt, t.last.endpoint, c.now, int64(n))
	if err != nil {
		return err
	}
	t.empty = len(t.queue) < n
	if len(t.queue) > 0 {
		d := t.queue[len(t.queue)-1]
		t.last = position{d.nextAt, d.key}
	}
	return nil
}

// lease marks what was taken, plain rows many to a statement.
func (c *claim) lease() error {
	owner, err := c.intern(c.request.Owner)
	if err != nil {
		return err
	}
	var plain []int64
	stats := stats{}
	attempts := inserter{inserts: insertAttempts}
	for i, d := range c.taken {
		before := d.kind()
		trigger := d.trigger
		if d.owner != 0 {
			if err := c.interrupt(&attempts, d, c.by[i]); err != nil {
				return err
			}
		}
		if (d.trigger == triggerInitial || d.trigger == triggerAutomatic) && c.by[i].releasedAt != none &&
			d.dueAt <= c.by[i].releasedAt {
			d.trigger = triggerUnpause
		}
		isPlain := d.owner == 0 && d.trigger == trigger
		d.owner, d.leasedAt, d.nextAt, d.updatedAt = owner, c.now, c.until, c.now
		d.lease++
		stats.move(d.endpoint, before, d.kind())
		if isPlain {
			plain = append(plain, d.key)
		} else if err := c.save(d); err != nil {
			return err
		}
	}
	if err := c.leasePlain(plain, owner); err != nil {
		return err
	}
	if all, err := attempts.flush(c.session); err != nil || !all {
		return errOr(err, func() error { return errTaken })
	}
	return stats.flush(c.session)
}

func (c *claim) leasePlain(keys []int64, owner int64) error {
	for len(keys) > 0 {
		n := chunks[0]
		for _, size := range chunks {
			if size <= len(keys) {
				n = size
				break
			}
		}
		args := []any{c.until, owner, c.now, c.now}
		for _, k := range keys[:n] {
			args = append(args, k)
		}
		if err := c.exec(`UPDATE webhook_delivery SET next_at = ?, owner = ?, leased_at = ?, updated_at = ?,
			lease = lease + 1 WHERE key IN (`+marksFor(n)+`)`, args...); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// maxUncharged is how many attempts in a row go uncharged; those after are charged, so that a
// delivery that kills the process ends.
const maxUncharged = 10

// interrupt records the attempt of a lease that ran out.
func (c *claim) interrupt(in *inserter, d *delivery, t *taking) error {
	if d.uncharged < maxUncharged {
		d.uncharged++
	} else {
		d.failed++
	}
	bulk, err := c.name(d.bulk)
	if err != nil {
		return err
	}
	a := webhook.DeliveryAttempt{
		ID: c.request.NewAttemptID(), Trigger: member(triggers, d.trigger), BulkRetryID: bulk,
		Status: webhook.AttemptInterrupted, Method: "POST", URL: withoutUser(t.url),
		ErrorCode: webhook.CodeInterrupted, Error: webhook.InterruptedError,
		StartedAt: fromMicro(d.leasedAt), CompletedAt: fromMicro(c.now), DurationMS: (c.now - d.leasedAt) / 1000,
		CreatedAt: fromMicro(c.now), UpdatedAt: fromMicro(c.now),
		AttemptNumber: int(d.attempts) + 1, DeliveryID: d.id(), EndpointID: t.endpointID,
	}
	rec := &record{delivery: d, lease: d.lease, number: d.attempts + 1, given: &a, lost: true}
	d.attempts++
	code, err := c.addAttempt(in, rec, c.now)
	if err != nil {
		return err
	}
	d.summarise(rec, code)
	d.trigger, d.bulk = triggerAutomatic, 0
	c.result.Interrupted = append(c.result.Interrupted, a)
	return nil
}

// withoutUser removes user information from a URL.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.User == nil {
		return raw
	}
	u.User = nil
	return u.String()
}

// addEvents completes what is returned with the events of the deliveries.
func (c *claim) addEvents() error {
	var keys []int64
	for _, d := range c.taken {
		keys = append(keys, d.event)
	}
	slices.Sort(keys)
	events, err := c.events(slices.Compact(keys))
	if err != nil {
		return err
	}
	byDelivery := map[string]*event{}
	for i, d := range c.taken {
		e := events[d.event]
		if e == nil {
			e = &event{} // a damaged database; the dispatcher finds the payload missing
		}
		bulk, err := c.name(d.bulk)
		if err != nil {
			return err
		}
		byDelivery[d.id()] = e
		c.result.Claims = append(c.result.Claims, webhook.Claim{
			DeliveryID: d.id(), EndpointID: c.by[i].endpointID, Event: e.Event,
			Lease: d.lease, LeaseUntil: fromMicro(c.until), AttemptNumber: int(d.attempts) + 1,
			Failed: int(d.failed), Uncharged: int(d.uncharged), Deferrals: int(d.deferrals),
			Trigger: member(triggers, d.trigger), BulkRetryID: bulk,
			DueAt: fromMicro(d.dueAt), CreatedAt: fromMicro(d.createdAt),
		})
	}
	for i := range c.result.Interrupted {
		a := &c.result.Interrupted[i]
		e := byDelivery[a.DeliveryID]
		a.TenantID, a.EventID, a.EventType = e.TenantID, e.ID, e.Type
	}
	return nil
}

// look answers a Claim with Limit 0: heads may be too early, so it asks the deliveries.
func (c *claim) look() error {
	for _, t := range c.ready {
		nextAt, _, found, err := c.next(t, c.now)
		if err != nil {
			return err
		}
		if found {
			c.sooner(nextAt)
			if nextAt <= c.now {
				c.result.Backlog = append(c.result.Backlog, t.endpointID)
			}
		}
	}
	after := c.now
	if !c.everything {
		after = c.ready[len(c.ready)-1].nextAt
	}
	return c.finish(after)
}

func (c *claim) sooner(nextAt int64) {
	if t := fromMicro(nextAt); c.result.NextDue.IsZero() || t.Before(c.result.NextDue) {
		c.result.NextDue = t
	}
}

// conclude looks at the heads, which are right by now for all endpoints that were visited.
func (c *claim) conclude() error {
	for _, t := range c.ready {
		if len(t.queue) == 0 && t.empty && !t.ordered {
			continue // it gave all it had
		}
		due, err := c.int(`SELECT count(*) FROM webhook_head WHERE endpoint = ? AND next_at <= ?`, t.endpoint, c.now)
		if err != nil {
			return err
		}
		if due > 0 {
			c.result.Backlog = append(c.result.Backlog, t.endpointID)
		}
	}
	return c.finish(none)
}

func (c *claim) finish(after int64) (err error) {
	for _, t := range c.skipped {
		nextAt, _, found, err := c.next(t, c.now)
		if err != nil {
			return err
		}
		if found && nextAt <= c.now {
			c.result.Backlog = append(c.result.Backlog, t.endpointID)
		}
	}
	if err := c.nextHead(after); err != nil {
		return err
	}
	c.result.Generation, err = c.generation()
	return err
}

// nextHead takes the earliest head after a time into NextDue, past endpoints that are set aside or
// got all they may.
func (c *claim) nextHead(after int64) error {
	full := map[int64]bool{}
	for _, t := range c.ready {
		if t.allowed == 0 && c.request.Limit > 0 {
			full[t.endpoint] = true
		}
	}
	return c.query(func(r row) error {
		if full[r.int(1)] || c.aside(id.Join(id.Endpoint, r.int(2), r.int(3))) {
			return nil
		}
		c.sooner(r.int(0))
		return errStop
	}, `SELECT h.next_at, h.endpoint, e.key, e.rest
		FROM webhook_head h INDEXED BY webhook_head_next CROSS JOIN webhook_endpoint e ON e.num = h.endpoint
		WHERE h.held = 0 AND h.next_at > ? ORDER BY h.next_at`, after)
}
