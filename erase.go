package webhook

import (
	"context"
	"sync"
	"time"
)

const eraseStep = 500 // rows taken in one transaction

// EraseEvent takes an event's payload and the previews and headers of its attempts for good. Its pending
// deliveries end with code DATA_ARCHIVED; what this process held in memory is dropped. A request under
// way, here or in another process, may finish, and what another process has claimed already, it may send
// until its lease ends (Config.AttemptTimeout + 15 s). The rows stay until retention takes them, and so
// does the IdempotencyKey. Repeating it does no harm. ErrNotFound: there is no such event.
func (d *Dispatcher) EraseEvent(ctx context.Context, eventID string) error {
	return d.erase(ctx, EraseRequest{EventID: eventID}, erased{eventID: eventID})
}

// EraseTenant removes all that a tenant has, endpoints first: events, deliveries, attempts and bulk
// retries go in small steps. If it fails in between, repeat it. What holds for requests under way is said at
// EraseEvent. A tenant that has nothing is no error; its ID may be used again afterwards.
func (d *Dispatcher) EraseTenant(ctx context.Context, tenantID string) error {
	if err := d.erase(ctx, EraseRequest{TenantID: tenantID}, erased{tenantID: tenantID}); err != nil {
		return err
	}
	d.endpointChanged(ctx)
	return nil
}

func (d *Dispatcher) erase(ctx context.Context, req EraseRequest, what erased) error {
	req.Limit = eraseStep
	for {
		req.Now = d.now()
		res, err := d.store.Erase(ctx, req)
		if err != nil {
			return err
		}
		now := d.now()
		d.erasures.note(what, now, d.directory.longestTimeout()+leaseMargin)
		if r := d.current.Load(); r != nil {
			r.handBack(r.queue.discard(func(c *Claim) bool { return d.erasures.cover(c, now) }))
		}
		if !res.More {
			return nil
		}
	}
}

// erased names an event, or a tenant.
type erased struct{ eventID, tenantID string }

// erasures are what was erased lately. A delivery that had been claimed just before, and comes out of the
// store only now, is not sent.
type erasures struct {
	mu   sync.Mutex
	when map[erased]erasure
}

type erasure struct{ at, until time.Time }

// note remembers an erasure for as long as claims from before it may live.
func (e *erasures) note(what erased, now time.Time, longest time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.when == nil {
		e.when = map[erased]erasure{}
	}
	for old, w := range e.when {
		if w.until.Before(now) {
			delete(e.when, old)
		}
	}
	e.when[what] = erasure{at: now, until: now.Add(longest)}
}

// cover reports whether a claim is of something erased. A tenant's ID may be in use again: what was sent
// after the erasure is not meant.
func (e *erasures) cover(c *Claim, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.when) == 0 {
		return false
	}
	if w, ok := e.when[erased{eventID: c.Event.ID}]; ok && !w.until.Before(now) {
		return true
	}
	w, ok := e.when[erased{tenantID: c.Event.TenantID}]
	return ok && !w.until.Before(now) && !c.Event.CreatedAt.After(w.at)
}
