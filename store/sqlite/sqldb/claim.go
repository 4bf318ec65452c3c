package sqldb

import (
	"context"
	"errors"
	"math"
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

// Claim implements [webhook.Store]. Unless the last one found something, it looks without the write lock
// first: most polls find nothing.
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (result webhook.ClaimResult, err error) {
	run := func(q *session) error {
		c := newClaim(q, &r)
		if err := c.run(); err != nil {
			return err
		}
		result = c.result
		return nil
	}
	if r.Limit <= 0 {
		if err = s.unfoldEnded(ctx, r.Now); err == nil {
			err = s.read(ctx, run)
		}
		return result, err
	}
	if !s.busy.Load() {
		var due bool
		if result, due, err = s.lookForDue(ctx, &r); err != nil || !due {
			return result, err
		}
	}
	for range 3 {
		if err = s.writeTo(ctx, processDeath, run); !errors.Is(err, errTaken) {
			break
		}
	}
	if err != nil {
		return webhook.ClaimResult{}, err
	}
	s.busy.Store(len(result.Claims) > 0)
	return result, nil
}

// lookForDue answers a Claim if no head is due.
func (s *Store) lookForDue(ctx context.Context, r *webhook.ClaimRequest) (result webhook.ClaimResult, due bool, err error) {
	err = s.read(ctx, func(q *session) (err error) {
		c := newClaim(q, r)
		if err := c.collect(1); err != nil {
			return err
		}
		if due = len(c.ready) > 0 || len(r.Early) > 0; due {
			return nil
		}
		if due, err = c.endedHanded(c.now); err != nil || due {
			return err
		}
		err = c.conclude()
		result = c.result
		return err
	})
	return result, due, err
}

// errTaken: the ID of an interrupted attempt stands for another.
var errTaken = errors.New("sqlite: the ID of an attempt is taken")

// claim is one call of Claim.
type claim struct {
	*session
	request    *webhook.ClaimRequest
	now, until int64
	excluded   map[string]bool
	ready      []*taking // due endpoints, in the order of their heads from where the last call stopped
	skipped    []*taking // due ones that are set aside
	ahead      []*taking // not due, and asked for ahead of their time
	everything bool      // no due endpoint was left out
	spans      []span    // of the heads that are still to be looked at
	keys       []int64   // of what was taken
	taken      []*delivery
	by         []*taking // whose each of them is
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

func newClaim(q *session, r *webhook.ClaimRequest) *claim {
	c := &claim{session: q, request: r, now: r.Now.UnixMicro(), until: r.LeaseUntil.UnixMicro()}
	if len(r.Exclude) > 0 {
		c.excluded = make(map[string]bool, len(r.Exclude))
		for _, endpointID := range r.Exclude {
			c.excluded[endpointID] = true
		}
	}
	start, end := position{nextAt: none}, position{c.now, math.MaxInt64}
	if r.Limit > 0 {
		start = q.s.ring.get()
	}
	c.spans = []span{{start, end}}
	if start.nextAt != none {
		c.spans = append(c.spans, span{position{nextAt: none}, start})
	}
	return c
}

func (c *claim) run() error {
	if c.request.Limit <= 0 {
		if err := c.collect(lookAhead); err != nil {
			return err
		}
		return c.look()
	}
	if err := c.unfoldEnded(c.now); err != nil {
		return err
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
	if err := c.correctEarly(); err != nil {
		return err
	}
	if err := c.addEvents(); err != nil {
		return err
	}
	return c.conclude()
}

// collect finds that many more due endpoints: each gives at least one delivery.
func (c *claim) collect(want int) error {
	want += len(c.ready)
	for len(c.spans) > 0 && len(c.ready) < want {
		if err := c.collectFrom(&c.spans[0], want); err != nil {
			return err
		}
		if len(c.ready) < want {
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

// collectFrom reads due heads of a span until there are as many as wanted.
func (c *claim) collectFrom(s *span, want int) error {
	if s.after.nextAt > s.to.nextAt {
		return nil
	}
	after, to := s.after, s.to
	return c.query(func(r row) error {
		t := &taking{
			position:   position{r.int(0), r.int(1)},
			endpointID: id.Join(id.Endpoint, r.int(3), r.int(4)), ordered: r.int(5) != 0,
			releasedAt: r.opt(6), after: none,
		}
		t.firstKey, s.after = r.int(2), t.position
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
	}, `SELECT h.next_at, h.endpoint, h.first_key, e.key, e.rest, e.ordered, e.released_at
		FROM webhook_head h INDEXED BY webhook_head_next CROSS JOIN webhook_endpoint e ON e.num = h.endpoint
		WHERE h.held = 0 AND (h.next_at, h.endpoint) > (?, ?) AND (h.next_at, h.endpoint) <= (?, ?)
			AND h.next_at <= ?
		ORDER BY h.next_at, h.endpoint`,
		after.nextAt, after.endpoint, to.nextAt, to.endpoint, c.now)
}

// aside reports whether an endpoint is excluded or capped at nothing.
func (c *claim) aside(endpointID string) bool {
	if c.excluded[endpointID] {
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
	return c.firstDue(nums, gave+share, func(endpoint int64, keys []int64) {
		t := dry[endpoint]
		t.empty = len(keys) < gave+share
		t.queue = keys[min(t.gave, len(keys)):] // those before are taken
	})
}

// firstDue reads the keys of the first n due deliveries of each endpoint.
func (c *claim) firstDue(endpoints []int64, n int, take func(endpoint int64, keys []int64)) error {
	return inKeys(endpoints, func(marks string, nums []any) error {
		return c.query(func(r row) error {
			keys, err := r.keys(1)
			take(r.int(0), keys)
			return err
		}, `SELECT endpoint, (
				SELECT group_concat(key) FROM (
					SELECT key FROM webhook_delivery INDEXED BY webhook_delivery_pending
					WHERE state = 0 AND endpoint = webhook_head.endpoint AND next_at <= ?
					ORDER BY next_at, key LIMIT ? + 0)) -- a bare ? would be compiled anew for each value
			FROM webhook_head WHERE endpoint IN (`+marks+`)`, append([]any{c.now, int64(n)}, nums...)...)
	})
}

func (c *claim) fillOrdered(t *taking) error {
	t.empty = true
	d, from, err := c.first(t.endpoint, t.firstKey, c.now)
	if err == nil && d != nil && from <= c.now {
		t.queue = []int64{d.key}
	}
	return err
}

// never is where the head of an endpoint with nothing pending would belong.
const never = math.MaxInt64

// correctHeads puts the heads of all endpoints that were looked at where they belong.
func (c *claim) correctHeads() error {
	plain := map[int64]*taking{}
	var nums, gone []int64
	for _, t := range c.ready {
		if !t.ordered {
			plain[t.endpoint], nums = t, append(nums, t.endpoint)
			continue
		}
		at, err := c.correct(t.endpoint, t.firstKey, c.now)
		if err != nil {
			return err
		}
		t.after = at
	}
	err := inKeys(nums, func(marks string, nums []any) error {
		return c.query(func(r row) error {
			if at := r.int(1); at == never {
				gone = append(gone, r.int(0))
			} else {
				plain[r.int(0)].after = at
			}
			return nil
		}, `UPDATE webhook_head SET next_at = coalesce((
				SELECT next_at FROM webhook_delivery INDEXED BY webhook_delivery_pending
				WHERE state = 0 AND endpoint = webhook_head.endpoint ORDER BY next_at, key LIMIT 1), ?)
			WHERE endpoint IN (`+marks+`) RETURNING endpoint, next_at`, append([]any{int64(never)}, nums...)...)
	})
	if err != nil {
		return err
	}
	return inKeys(gone, func(marks string, nums []any) error {
		return c.exec(`DELETE FROM webhook_head WHERE endpoint IN (`+marks+`)`, nums...)
	})
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
		if t.after != none && t.after <= c.now {
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
	if err := c.query(func(r row) error {
		if !r.null(0) {
			c.sooner(r.int(0))
		}
		return nil
	}, `SELECT min(until) FROM webhook_handed`); err != nil {
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
