package memory

import (
	"context"
	"maps"
	"net/url"
	"slices"

	"github.com/outhook/webhook"
)

// lookAhead is how many endpoints a Claim that only looks names in its backlog.
const lookAhead = 256

// Claim implements [webhook.Store]. It costs O(log n) for each delivery claimed and for each endpoint
// excluded.
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.ClaimResult{}, err
	}
	c := claim{store: s, request: r, now: r.Now.UnixMicro(), until: r.LeaseUntil.UnixMicro()}
	c.setAside()
	c.collect()
	c.take()
	c.takeEarly()
	c.conclude()
	return c.result, nil
}

// claim is one call of Claim. Endpoints leave the heads while it looks at them.
type claim struct {
	store      *Store
	request    webhook.ClaimRequest
	now, until int64
	aside      []*endpoint // excluded, or allowed none
	ready      []*taking   // due, the longest overdue first
	result     webhook.ClaimResult
}

type taking struct {
	endpoint *endpoint
	allowed  int // how many more
}

func (c *claim) setAside() {
	drop := func(endpointID string) {
		if e := c.store.endpoints[endpointID]; e != nil && e.inHeads != 0 {
			c.store.heads.remove(e)
			c.aside = append(c.aside, e)
		}
	}
	for _, endpointID := range c.request.Exclude {
		drop(endpointID)
	}
	for endpointID, n := range c.request.Caps {
		if n <= 0 {
			drop(endpointID)
		}
	}
}

// collect takes as many due endpoints as could matter: each gives at least one delivery.
func (c *claim) collect() {
	look, heads := c.request.Limit, &c.store.heads
	if look <= 0 {
		look = lookAhead
	}
	for len(c.ready) < look && heads.len() > 0 && heads.first().earliest <= c.now {
		e := heads.first()
		heads.remove(e)
		c.ready = append(c.ready, &taking{e, c.allowance(e)})
	}
}

func (c *claim) allowance(e *endpoint) int {
	if n, ok := c.request.Caps[e.row.ID]; ok {
		return n
	}
	if c.request.PerEndpoint > 0 {
		return c.request.PerEndpoint
	}
	return c.request.Limit
}

// take goes round the ready endpoints, one delivery of each at a time.
func (c *claim) take() {
	for more := true; more; {
		more = false
		for _, t := range c.ready {
			if len(c.result.Claims) >= c.request.Limit {
				return
			}
			d, from := t.endpoint.next()
			if t.allowed == 0 || d == nil || from > c.now {
				continue
			}
			t.allowed--
			c.lease(d)
			more = true
		}
	}
}

// earlyLook is how many deliveries of an endpoint are looked at for one to be claimed ahead of its time.
const earlyLook = 100

// takeEarly claims retries of the endpoints asked for ahead of their time.
func (c *claim) takeEarly() {
	given := map[string]int{}
	for _, claimed := range c.result.Claims {
		given[claimed.EndpointID]++
	}
	for _, endpointID := range slices.Sorted(maps.Keys(c.request.Early)) {
		e := c.store.endpoints[endpointID]
		if e == nil || e.row.State != webhook.EndpointEnabled || slices.Contains(c.request.Exclude, endpointID) {
			continue
		}
		n := min(c.request.Early[endpointID], c.allowance(e)-given[endpointID], c.request.Limit-len(c.result.Claims))
		for _, d := range e.early(c.now) {
			if n--; n < 0 {
				break
			}
			c.lease(d)
		}
		if e.inHeads != 0 { // else conclude puts it back
			c.store.refresh(e)
		}
	}
}

// early returns retries that are not due yet, the soonest first.
func (e *endpoint) early(now int64) (found []*delivery) {
	eligible := func(d *delivery) bool {
		return d.leasedBy == "" && d.nextAt > now && d.trigger == webhook.TriggerAutomatic
	}
	if e.row.Ordered {
		d, from := e.next()
		if d != nil && from == d.nextAt && eligible(d) && !slices.ContainsFunc(e.leased, func(l *delivery) bool { return l.leased(now) }) {
			found = append(found, d)
		}
		return found
	}
	var seen []*delivery
	for free := 0; free < earlyLook && e.due.len() > 0; {
		d := e.due.first()
		e.due.remove(d)
		if seen = append(seen, d); eligible(d) {
			found = append(found, d)
		}
		if d.leasedBy == "" { // those that are leased are few, and come first
			free++
		}
	}
	for _, d := range seen {
		e.due.put(d)
	}
	return found
}

func (c *claim) lease(d *delivery) {
	if d.leasedBy != "" {
		c.interrupt(d)
	}
	trigger := d.trigger
	released := d.endpoint.row.ReleasedAt
	if (trigger == webhook.TriggerInitial || trigger == webhook.TriggerAutomatic) &&
		!released.IsZero() && d.dueAt <= released.UnixMicro() {
		trigger = webhook.TriggerUnpause
	}
	d.leaseTo(c.request.Owner, c.now, c.until, trigger)
	d.updatedAt = c.now
	d.endpoint.enqueue(d)
	c.result.Claims = append(c.result.Claims, webhook.Claim{
		DeliveryID: d.id, EndpointID: d.endpoint.row.ID, Event: d.event.Event,
		Lease: d.lease, LeaseUntil: at(c.until), AttemptNumber: len(d.attempts) + 1,
		Failed: d.failed, Uncharged: d.uncharged, Deferrals: d.deferrals,
		Trigger: trigger, BulkRetryID: d.bulkRetryID,
		DueAt: at(d.dueAt), CreatedAt: d.createdAt,
	})
}

// maxUncharged is how many attempts in a row go uncharged; those after are charged, so that a
// delivery that kills the process ends.
const maxUncharged = 10

// interrupt records the attempt of a lease that ran out.
func (c *claim) interrupt(d *delivery) {
	if d.uncharged < maxUncharged {
		d.uncharged++
	} else {
		d.failed++
	}
	a := c.store.record(d, d.lease, webhook.DeliveryAttempt{
		ID: c.request.NewAttemptID(), Trigger: d.leasedFor, BulkRetryID: d.bulkRetryID,
		Status: webhook.AttemptInterrupted, Method: "POST", URL: withoutUser(d.endpoint.row.URL),
		ErrorCode: webhook.CodeInterrupted, Error: webhook.InterruptedError,
		StartedAt: at(d.leasedAt), CompletedAt: at(c.now), DurationMS: (c.now - d.leasedAt) / 1000,
	}, c.now)
	a.lost = true
	d.trigger, d.bulkRetryID = webhook.TriggerAutomatic, ""
	c.result.Interrupted = append(c.result.Interrupted, copyAttempt(a))
}

// conclude puts all endpoints back. Those that were set aside or got all they may come last, so that
// NextDue does not see them.
func (c *claim) conclude() {
	full := c.aside
	for _, t := range c.ready {
		if t.allowed == 0 && c.request.Limit > 0 {
			full = append(full, t.endpoint)
			continue
		}
		c.putBack(t.endpoint)
	}
	if c.store.heads.len() > 0 {
		c.result.NextDue = at(c.store.heads.first().earliest)
	}
	for _, e := range full {
		c.putBack(e)
	}
	c.result.Generation = c.store.generation
}

func (c *claim) putBack(e *endpoint) {
	c.store.refresh(e)
	if e.earliest <= c.now {
		c.result.Backlog = append(c.result.Backlog, e.row.ID)
	}
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
