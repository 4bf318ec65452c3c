package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/storetest"
)

// comparison holds the three records of a round against each other.
type comparison struct {
	r          *round
	events     map[string]webhook.Event // by ID
	byKey      map[string]string
	deliveries map[string]webhook.DeliveryListItem
	ways       map[way]string // delivery by event and path
	attempts   map[string][]webhook.DeliveryAttempt
	requests   map[way][]entry
}

// way is where an event goes.
type way struct {
	eventID string
	path    int
}

// verify compares everything through the public API, when all processes have ended.
func (r *round) verify(ctx context.Context) {
	c := &comparison{r: r}
	if err := c.load(ctx); err != nil {
		r.book.fail(err)
		return
	}
	c.checkSends()
	c.checkRequests()
	c.checkLeases()
	r.book.fail(c.checkFence(ctx))
	for id := range c.deliveries {
		c.checkDelivery(id)
	}
	c.count()
}

func (c *comparison) load(ctx context.Context) error {
	st, err := openStore(ctx, c.r.path, c.r.url)
	if err != nil {
		return err
	}
	defer func() { c.r.book.fail(st.Close()) }()
	d, err := webhook.New(st, webhook.Config{})
	if err != nil {
		return err
	}
	storetest.CheckInvariants(&failing{book: c.r.book}, st)
	if err := c.loadDatabase(ctx, d); err != nil {
		return err
	}
	entries, err := c.r.receiver.entries()
	if err != nil {
		return err
	}
	c.requests = map[way][]entry{}
	for _, e := range entries {
		at := way{e.EventID, e.Path}
		c.requests[at] = append(c.requests[at], e)
	}
	return nil
}

func (c *comparison) loadDatabase(ctx context.Context, d *webhook.Dispatcher) error {
	c.events, c.byKey, c.deliveries = map[string]webhook.Event{}, map[string]string{}, map[string]webhook.DeliveryListItem{}
	c.ways, c.attempts = map[way]string{}, map[string][]webhook.DeliveryAttempt{}
	err := pages(func(after string) ([]webhook.Event, error) {
		return d.ListEvents(ctx, webhook.EventQuery{AllTenants: true, After: after, Limit: 500})
	}, func(e webhook.Event) string {
		if other, ok := c.byKey[e.IdempotencyKey]; ok {
			c.failf("events %s and %s have one idempotency key, %s", other, e.ID, e.IdempotencyKey)
		}
		c.events[e.ID], c.byKey[e.IdempotencyKey] = e, e.ID
		return e.ID
	})
	if err != nil {
		return err
	}
	paths := map[string]int{}
	for i, e := range c.r.endpoints {
		paths[e.ID] = i
	}
	for item, err := range d.Deliveries(ctx, webhook.DeliveryQuery{AllTenants: true, Limit: 500}) {
		if err != nil {
			return err
		}
		c.deliveries[item.ID] = item
		c.ways[way{item.EventID, paths[item.EndpointID]}] = item.ID
	}
	return pages(func(after string) ([]webhook.DeliveryAttempt, error) {
		return d.ListAttempts(ctx, webhook.AttemptQuery{AllTenants: true, After: after, Limit: 500})
	}, func(a webhook.DeliveryAttempt) string {
		c.attempts[a.DeliveryID] = append(c.attempts[a.DeliveryID], a)
		return a.ID
	})
}

// pages reads a list to its end. take keeps one item and returns its ID.
func pages[T any](list func(after string) ([]T, error), take func(T) string) error {
	for after := ""; ; {
		page, err := list(after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for _, v := range page {
			after = take(v)
		}
	}
}

// checkSends: what was acknowledged is there with all its deliveries, what failed is not.
func (c *comparison) checkSends() {
	for key, s := range c.r.book.sends {
		id, stored := c.byKey[key]
		switch {
		case s.status == sendFailed && stored:
			c.failf("Send of %s returned an error, but event %s is stored", key, id)
		case s.status == sendFailed:
		case s.status != sendAcked:
			c.failf("it is still unknown whether %s was stored", key)
		case id != s.eventID:
			c.r.book.lose()
			c.failf("lost: event %s of key %s was acknowledged; stored is %q", s.eventID, key, id)
		default:
			c.checkFanOut(key, s)
		}
	}
}

func (c *comparison) checkFanOut(key string, s *sent) {
	e := eventFor(key)
	if stored := c.events[s.eventID]; stored.Type != e.Type {
		c.failf("event %s has type %s, sent was %s", s.eventID, stored.Type, e.Type)
	}
	paths := expectedPaths(e.Type)
	if len(paths) != len(s.deliveries) {
		c.failf("event %s goes to %d endpoints, not %d", s.eventID, len(s.deliveries), len(paths))
	}
	for _, path := range paths {
		if c.ways[way{s.eventID, path}] == "" {
			c.r.book.lose()
			c.failf("lost: event %s has no delivery to endpoint %d", s.eventID, path)
		}
	}
	for _, id := range s.deliveries {
		if c.deliveries[id].EventID != s.eventID {
			c.failf("delivery %s was acknowledged for event %s; stored is %q", id, s.eventID, c.deliveries[id].EventID)
		}
	}
}

// checkRequests: whatever arrived was sent by a delivery that knows of it.
func (c *comparison) checkRequests() {
	for at, requests := range c.requests {
		for _, e := range requests {
			if !e.Whole || e.Key != c.events[at.eventID].IdempotencyKey {
				c.failf("a request for event %s at endpoint %d had another payload than was sent", at.eventID, at.path)
			}
		}
		attempts := c.attempts[c.ways[at]]
		rows := len(attempts)
		for _, a := range attempts {
			rows += a.Resends
		}
		if len(requests) > rows {
			c.failf("%d requests for event %s at endpoint %d, but %d attempts on record", len(requests), at.eventID, at.path, rows)
		}
	}
}

func (c *comparison) checkDelivery(id string) {
	d := c.deliveries[id]
	at := way{d.EventID, c.pathOf(d)}
	b := c.r.receiver.behaviour(at.eventID, at.path)
	switch {
	case !d.State.Final():
		c.r.book.stick()
		c.failf("stuck: delivery %s to endpoint %d is %s", id, at.path, d.State)
	case d.State == webhook.StateExhausted && c.crashed(id) >= freeCrashes+refusalsAllowed:
		c.r.book.giveUp()
	case d.State != webhook.StateSucceeded:
		c.failf("delivery %s is %s (%s), though its receiver refused it only %d times", id, d.State, d.FailureCode, b.refusals)
	}
	answered, unsent, interrupted, late, won := 0, 0, 0, 0, 0
	numbers := map[int]bool{}
	for _, a := range c.attempts[id] {
		numbers[a.AttemptNumber] = true
		if a.Status == webhook.AttemptInterrupted {
			interrupted++
		} else {
			answered++
			// The result of a process that was stopped takes the place of an interrupted attempt.
			if a.Status == webhook.AttemptSucceeded {
				won++
			} else if c.overtaken(id, &a) {
				late++
				if a.DeliveredAt == nil { // stopped before it sent anything, it found the time over when it went on
					unsent++
				}
			}
		}
	}
	for n := range len(c.attempts[id]) {
		if !numbers[n+1] {
			c.failf("delivery %s has %d attempts, but none with number %d", id, len(c.attempts[id]), n+1)
		}
	}
	if answered-unsent > len(c.requests[at]) {
		c.failf("delivery %s has %d attempts that were sent, but %d requests arrived", id, answered-unsent, len(c.requests[at]))
	}
	late += max(0, won-1)
	if twice := c.duplicates(at); twice > interrupted+late {
		c.failf("delivery %s was repeated %d times after success, with %d interrupted attempts and %d late ones", id, twice, interrupted, late)
	}
	if c.r.o.Term && interrupted > 0 && !b.hangs {
		c.failf("an attempt of delivery %s was interrupted, though there was time to drain", id)
	}
}

// overtaken reports whether another attempt of the delivery began before this one, of a process that was
// stopped, had ended.
func (c *comparison) overtaken(id string, a *webhook.DeliveryAttempt) bool {
	return slices.ContainsFunc(c.attempts[id], func(other webhook.DeliveryAttempt) bool {
		return other.AttemptNumber > a.AttemptNumber && other.StartedAt.Before(a.CompletedAt)
	})
}

// A crash is not charged to a delivery, but from the eleventh in a row on it is: the delivery may be
// what kills the process. Here it is not, but that cannot be known.
const freeCrashes = 10

// crashed is how many of a delivery's last attempts in a row were interrupted.
func (c *comparison) crashed(id string) (n int) {
	attempts := slices.Clone(c.attempts[id])
	slices.SortFunc(attempts, func(a, b webhook.DeliveryAttempt) int { return b.AttemptNumber - a.AttemptNumber })
	for _, a := range attempts {
		if a.Status != webhook.AttemptInterrupted {
			break
		}
		n++
	}
	return n
}

func (c *comparison) pathOf(d webhook.DeliveryListItem) int {
	for i, e := range c.r.endpoints {
		if e.ID == d.EndpointID {
			return i
		}
	}
	return -1
}

// duplicates are the requests that followed the first one that was answered with success.
func (c *comparison) duplicates(at way) int {
	return max(0, len(c.requests[at])-c.r.receiver.behaviour(at.eventID, at.path).refusals-1)
}

func (c *comparison) count() {
	b := c.r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events, b.deliveries = len(c.events), len(c.deliveries)
	for at, requests := range c.requests {
		b.requests += len(requests)
		b.duplicates += c.duplicates(at)
	}
	for _, attempts := range c.attempts {
		for _, a := range attempts {
			if a.Status == webhook.AttemptInterrupted {
				b.interrupted++
			}
		}
	}
	if most := workers * b.kills; b.duplicates > most {
		b.faults = append(b.faults, fmt.Errorf("%d duplicates; %d workers and %d kills explain at most %d",
			b.duplicates, workers, b.kills, most))
	}
	if limit := drainTimeout + 250*time.Millisecond; b.slowestDrain > limit {
		b.faults = append(b.faults, fmt.Errorf("draining took %s after SIGTERM; its limit is %s", b.slowestDrain, limit))
	}
	// A lease that had to run out would show in the second.
	if limit := c.r.o.TakeOver; limit > 0 && !c.r.o.Postgres && (b.takeOver > limit || b.lastOver > limit+attemptTimeout) {
		b.faults = append(b.faults, fmt.Errorf("a dead process's deliveries were taken over from %s to %s after a start; the limits are %s and %s",
			b.takeOver, b.lastOver, limit, limit+attemptTimeout))
	}
	b.checkFull(c.r.o)
}

func (c *comparison) failf(format string, args ...any) { c.r.book.fail(fmt.Errorf(format, args...)) }

// failing lets checks made for tests report to the book.
type failing struct{ book *book }

func (f *failing) Errorf(format string, args ...any) { f.book.fail(fmt.Errorf(format, args...)) }
func (f *failing) FailNow()                          {}
