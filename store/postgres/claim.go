package postgres

import (
	"context"
	"errors"
	"math"
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
	mu   sync.Mutex
	at   position
	busy bool // the last Claim found something
}

// position is a place in the order of heads.
type position struct{ nextAt, endpoint int64 }

func (r *ring) get() (at position, busy bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.busy
}

func (r *ring) set(at position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = at
}

func (r *ring) found(something bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = something
}

// Claim implements [webhook.Store]. Unless the last one found something, it looks without locks first:
// most polls find nothing.
//
// It locks the heads it works on and passes over those that another process has locked, so that no two
// processes are at one endpoint at the same time. Only if that leaves nothing, it waits for the first, and
// not for long.
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (result webhook.ClaimResult, err error) {
	run := func(q *session) error {
		c, err := newClaim(q, &r)
		if err == nil {
			err = c.run()
		}
		result = c.result
		return err
	}
	if r.Limit <= 0 {
		err = s.read(ctx, run)
		return result, err
	}
	due, notes := true, true
	if _, busy := s.ring.get(); !busy {
		if result, due, notes, err = s.lookForDue(ctx, &r); err != nil || !due {
			return result, err
		}
	}
	if notes {
		err := s.write(ctx, func(q *session) error {
			// If the server crashes, the notes are back.
			if err := q.exec(`SELECT set_config('synchronous_commit', 'off', true)`); err != nil || s.bound {
				return err
			}
			return q.enterNotes(r.Now.UnixMicro())
		})
		if err != nil {
			return webhook.ClaimResult{}, err
		}
	}
	for range 3 {
		if err = s.write(ctx, run); !errors.Is(err, errTaken) {
			break
		}
	}
	if err == nil && len(result.Claims) == 0 && !result.NextDue.IsZero() && !result.NextDue.After(r.Now) && !s.bound {
		before := result
		err = s.write(ctx, func(q *session) error {
			c, err := newClaim(q, &r)
			if err == nil {
				c.patient = true
				err = c.run()
			}
			result = c.result
			return err
		})
		if isCode(err, codeLockTimeout) || errors.Is(err, errTaken) {
			result, err = before, nil
		}
	}
	if err != nil {
		return webhook.ClaimResult{}, err
	}
	s.ring.found(len(result.Claims) > 0)
	return result, nil
}

// lookForDue answers a Claim if nothing is due.
func (s *Store) lookForDue(ctx context.Context, r *webhook.ClaimRequest) (result webhook.ClaimResult, due, notes bool, err error) {
	err = s.read(ctx, func(q *session) error {
		c, err := newClaim(q, r)
		if err != nil {
			return err
		}
		if _, err := q.one(`SELECT EXISTS (SELECT FROM webhook.note WHERE at <= $1),
			EXISTS (SELECT FROM webhook.head WHERE NOT held AND next_at <= $1 AND endpoint <> ALL($2::bigint[]))`,
			[]any{c.now, c.aside}, &notes, &due); err != nil {
			return err
		}
		if due = due || notes || len(r.Early) > 0; due {
			return nil
		}
		err = c.conclude()
		result = c.result
		return err
	})
	return result, due, notes, err
}

// errTaken: the ID of an interrupted attempt stands for another.
var errTaken = errors.New("postgres: the ID of an attempt is taken")

// claim is one call of Claim.
type claim struct {
	*session
	request    *webhook.ClaimRequest
	now, until int64
	aside      []int64   // endpoints that are excluded, or capped at nothing
	ready      []*taking // due endpoints, in the order of their heads from where the last call stopped
	ahead      []*taking // not due, and asked for ahead of their time
	closed     []int64   // due heads of endpoints that are not enabled any more
	everything bool      // no due endpoint was left out
	patient    bool      // wait for the first head
	spans      []span    // of the heads that are still to be looked at
	keys       []int64   // of what was taken
	by         []*taking // whose each of them is
	early      map[int64]bool
	taken      []*delivery
	result     webhook.ClaimResult
}

// span is a part of the heads: after one position, and up to another.
type span struct{ after, to position }

// taking is a due endpoint that gives deliveries.
type taking struct {
	position
	endpointID           string
	ordered              bool
	firstKey, releasedAt int64
	allowed              int
	queue                []int64 // keys read and not yet taken
	gave                 int
	empty                bool  // no more are due
	after                int64 // nextAt of its head after this call; none: nothing is pending
}

func newClaim(q *session, r *webhook.ClaimRequest) (*claim, error) {
	c := &claim{session: q, request: r, now: r.Now.UnixMicro(), until: r.LeaseUntil.UnixMicro(),
		early: map[int64]bool{}, aside: []int64{}}
	start, end := position{nextAt: none}, position{c.now, math.MaxInt64}
	if r.Limit > 0 {
		start, _ = q.s.ring.get()
	}
	c.spans = []span{{start, end}}
	if start.nextAt != none {
		c.spans = append(c.spans, span{position{nextAt: none}, start})
	}
	return c, c.setAside()
}

// setAside finds the endpoints that give nothing.
func (c *claim) setAside() error {
	ids := slices.Clone(c.request.Exclude)
	for endpointID, n := range c.request.Caps {
		if n <= 0 {
			ids = append(ids, endpointID)
		}
	}
	var keys []int64
	for _, endpointID := range ids {
		if num, ok := c.s.eps.num(endpointID); ok {
			c.aside = append(c.aside, num)
		} else if key, _, ok := id.Split(id.Endpoint, endpointID); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return c.query(func(r row) error {
		var num, key, rest int64
		err := r.Scan(&num, &key, &rest)
		if slices.Contains(ids, id.Join(id.Endpoint, key, rest)) {
			c.aside = append(c.aside, num)
		}
		return err
	}, `SELECT num, key, rest FROM webhook.endpoint WHERE key = ANY($1::bigint[])`, keys)
}

func (c *claim) run() error {
	if c.request.Limit <= 0 {
		return c.look()
	}
	// Heads may be too early, so what they promise may not be there.
	for !c.everything && len(c.keys) < c.request.Limit {
		if err := c.collect(c.request.Limit - len(c.keys)); err != nil {
			return err
		}
		if err := c.take(); err != nil {
			return err
		}
	}
	c.turn()
	if err := c.takeEarly(); err != nil {
		return err
	}
	if err := c.lease(); err != nil {
		return err
	}
	if err := c.correctHeads(); err != nil {
		return err
	}
	return c.conclude()
}

// collect finds that many more due endpoints: each gives at least one delivery.
func (c *claim) collect(want int) error {
	want += len(c.ready)
	for len(c.spans) > 0 && len(c.ready) < want {
		more, err := c.collectFrom(&c.spans[0], want-len(c.ready))
		if err != nil {
			return err
		}
		if !more {
			c.spans = c.spans[1:]
		}
	}
	c.everything = len(c.spans) == 0
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

// collectFrom locks the next due heads of a span, and says whether there may be more.
func (c *claim) collectFrom(s *span, want int) (more bool, err error) {
	if s.after.nextAt > s.to.nextAt {
		return false, nil
	}
	after, found, passOver := s.after, 0, " SKIP LOCKED"
	if c.patient { // holding nothing yet, so that no two wait for each other
		c.patient, want, passOver = false, 1, ""
		if err := c.exec(`SELECT set_config('lock_timeout', '200ms', true)`); err != nil {
			return false, err
		}
	}
	err = c.query(func(r row) error {
		found++
		t := &taking{after: none}
		var key, rest, state int64
		if err := r.Scan(&t.nextAt, &t.endpoint, &t.firstKey, &key, &rest, &t.ordered, &t.releasedAt, &state); err != nil {
			return err
		}
		s.after = t.position
		if state != 0 {
			c.closed = append(c.closed, t.endpoint)
			return nil
		}
		t.endpointID = id.Join(id.Endpoint, key, rest)
		t.allowed = c.allowance(t.endpointID)
		c.ready = append(c.ready, t)
		return nil
	}, `SELECT h.next_at, h.endpoint, h.first_key, e.key, e.rest, e.ordered, `+nullable("e.released_at")+`, e.state
		FROM webhook.head h JOIN webhook.endpoint e ON e.num = h.endpoint
		WHERE NOT h.held AND (h.next_at, h.endpoint) > ($1, $2) AND (h.next_at, h.endpoint) <= ($3, $4)
			AND h.next_at <= $5 AND h.endpoint <> ALL($6::bigint[])
		ORDER BY h.next_at, h.endpoint LIMIT $7 FOR UPDATE OF h`+passOver,
		after.nextAt, after.endpoint, s.to.nextAt, s.to.endpoint, c.now, c.aside, int64(want))
	return found == want, err
}

func (c *claim) allowance(endpointID string) int {
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
	share := (c.request.Limit + len(c.ready) - 1) / max(1, len(c.ready))
	for more := true; more; {
		if err := c.fill(share); err != nil {
			return err
		}
		more = false
		for _, t := range c.ready {
			if len(c.keys) >= c.request.Limit {
				return nil
			}
			if t.allowed == 0 || len(t.queue) == 0 {
				continue
			}
			c.keys, c.by = append(c.keys, t.queue[0]), append(c.by, t)
			t.queue = t.queue[1:]
			t.allowed--
			t.gave++
			more = true
		}
	}
	return nil
}

// fill reads the next due deliveries of endpoints that have given all that was read before.
func (c *claim) fill(share int) error {
	dry := map[int64]*taking{}
	var nums []int64
	gave := 0
	for _, t := range c.ready {
		if t.empty || t.allowed == 0 || len(t.queue) > 0 {
			continue
		}
		if t.ordered {
			if err := c.fillOrdered(t); err != nil {
				return err
			}
			continue
		}
		dry[t.endpoint], nums = t, append(nums, t.endpoint)
		gave = max(gave, t.gave)
	}
	if len(nums) == 0 {
		return nil
	}
	due, err := c.firstDue(nums, gave+share)
	for num, t := range dry {
		t.empty = len(due[num]) < gave+share
		t.queue = due[num][min(t.gave, len(due[num])):] // those before are taken
	}
	return err
}

// firstDue reads the keys of the first n due deliveries of each endpoint.
func (c *claim) firstDue(endpoints []int64, n int) (map[int64][]int64, error) {
	due := map[int64][]int64{}
	return due, c.query(func(r row) error {
		var endpoint, key int64
		err := r.Scan(&endpoint, &key)
		due[endpoint] = append(due[endpoint], key)
		return err
	}, `SELECT u.endpoint, q.key FROM unnest($1::bigint[]) AS u(endpoint) CROSS JOIN LATERAL (
			SELECT key, next_at FROM webhook.queue WHERE endpoint = u.endpoint AND next_at <= $2 AND NOT over
			ORDER BY next_at, key LIMIT $3) q ORDER BY u.endpoint, q.next_at, q.key`, endpoints, c.now, int64(n))
}

func (c *claim) fillOrdered(t *taking) error {
	t.empty = true
	d, from, err := c.first(t.endpoint, t.firstKey, c.now)
	if err == nil && d != nil && from <= c.now {
		t.queue = []int64{d.key}
	}
	return err
}

// look answers a Claim with Limit 0: heads may be too early, and notes too, so it asks the deliveries.
func (c *claim) look() error {
	var full bool
	if err := c.lookAt(&full); err != nil {
		return err
	}
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
	if full {
		after = c.ready[len(c.ready)-1].nextAt
	}
	return c.finish(after)
}

// lookAt finds the endpoints that are due by their heads, and those that due notes tell of.
func (c *claim) lookAt(full *bool) error {
	seen := map[int64]bool{}
	add := func(r row) error {
		t := &taking{after: none}
		var key, rest int64
		if err := r.Scan(&t.nextAt, &t.endpoint, &t.firstKey, &key, &rest, &t.ordered, &t.releasedAt); err != nil {
			return err
		}
		t.endpointID = id.Join(id.Endpoint, key, rest)
		if !seen[t.endpoint] {
			c.ready = append(c.ready, t)
			seen[t.endpoint] = true
		}
		return nil
	}
	of := `e.key, e.rest, e.ordered, ` + nullable("e.released_at")
	if err := c.query(add, `SELECT n.at, x.endpoint, least(min(x.key), min(h.first_key)), `+of+`
		FROM webhook.note n CROSS JOIN LATERAL unnest(n.endpoint, n.key) AS x(endpoint, key)
			JOIN webhook.endpoint e ON e.num = x.endpoint LEFT JOIN webhook.head h ON h.endpoint = x.endpoint
		WHERE n.at <= $1 AND e.state = 0 AND x.endpoint <> ALL($2::bigint[])
		GROUP BY n.at, x.endpoint, e.num`, c.now, c.aside); err != nil {
		return err
	}
	before := len(c.ready)
	err := c.query(add, `SELECT h.next_at, h.endpoint, h.first_key, `+of+`
		FROM webhook.head h JOIN webhook.endpoint e ON e.num = h.endpoint
		WHERE NOT h.held AND h.next_at <= $1 AND e.state = 0 AND h.endpoint <> ALL($2::bigint[])
		ORDER BY h.next_at, h.endpoint LIMIT $3`, c.now, c.aside, int64(lookAhead))
	*full = len(c.ready)-before == lookAhead
	return err
}

func (c *claim) sooner(nextAt int64) {
	if t := fromMicro(nextAt); c.result.NextDue.IsZero() || t.Before(c.result.NextDue) {
		c.result.NextDue = t
	}
}

// conclude looks at the heads, which are right by now for all endpoints that were visited.
func (c *claim) conclude() error {
	for _, t := range c.ready {
		if t.after != none && t.after <= c.now {
			c.result.Backlog = append(c.result.Backlog, t.endpointID)
		}
	}
	return c.finish(none)
}

// finish tells of endpoints that were set aside and have something due, of the earliest head after a time,
// past endpoints that are set aside or got all they may, and of the earliest note.
func (c *claim) finish(after int64) error {
	full := slices.Clone(c.aside)
	for _, t := range c.ready {
		if t.allowed == 0 && c.request.Limit > 0 {
			full = append(full, t.endpoint)
		}
	}
	earliest := func(r row) error {
		var at int64
		err := r.Scan(&at)
		c.sooner(at)
		return err
	}
	list := []*statement{
		{sql: `SELECT generation FROM webhook.meta`, scan: func(r row) error { return r.Scan(&c.result.Generation) }},
		{sql: `SELECT h.next_at FROM webhook.head h JOIN webhook.endpoint e ON e.num = h.endpoint
			WHERE NOT h.held AND h.next_at > $1 AND e.state = 0 AND h.endpoint <> ALL($2::bigint[])
			ORDER BY h.next_at, h.endpoint LIMIT 1`, args: []any{after, full}, scan: earliest},
		{sql: `SELECT n.at FROM webhook.note n WHERE n.at > $1 AND EXISTS (
				SELECT FROM unnest(n.endpoint) AS x(num) JOIN webhook.endpoint e ON e.num = x.num
				WHERE e.state = 0 AND e.num <> ALL($2::bigint[]))
			ORDER BY n.at, n.id LIMIT 1`, args: []any{after, c.aside}, scan: earliest},
	}
	if len(c.aside) > 0 {
		list = append(list, &statement{sql: `SELECT e.key, e.rest FROM webhook.head h JOIN webhook.endpoint e ON e.num = h.endpoint
			WHERE h.endpoint = ANY($1::bigint[]) AND NOT h.held AND h.next_at <= $2 AND e.state = 0 AND EXISTS (
				SELECT FROM webhook.queue WHERE endpoint = h.endpoint AND next_at <= $2 AND NOT over)`,
			args: []any{c.aside, c.now}, scan: func(r row) error {
				var key, rest int64
				err := r.Scan(&key, &rest)
				c.result.Backlog = append(c.result.Backlog, id.Join(id.Endpoint, key, rest))
				return err
			}})
	}
	return c.session.run(list...)
}
