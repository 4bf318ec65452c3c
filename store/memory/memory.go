// Package memory keeps everything in this process's memory: for tests, for examples, and for
// services that can afford to lose what was not delivered when they end.
//
// It is a complete [webhook.Store] and the plainest one to read. Nothing survives the process; rule 1
// of the contract, durable when Commit returns, holds as far as that goes.
//
// # Sharing
//
// What is given to [Store.Commit] belongs to the store from then on: payloads, maps, slices and what
// pointers point to are kept, not copied, and must not be changed any more. (The dispatcher copies
// what a user of Send could still change.) What views return is the caller's, payloads excepted. A
// payload, and in a claim the whole event, is shared and only to be read.
package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

// Store is a [webhook.Store] in memory. It is safe for concurrent use.
type Store struct {
	mu         sync.RWMutex
	closed     bool
	generation int64

	endpoints  map[string]*endpoint
	events     map[string]*event
	deliveries map[string]*delivery
	keys       map[idempotencyKey]*event
	bulks      ordered[*bulkRetry]

	all     *rows            // of every tenant
	tenants map[string]*rows // the same by tenant
	heads   queue[*endpoint] // enabled endpoints with pending deliveries, by earliest
	changes []change         // of endpoints, in the order of their generations
}

var _ webhook.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		endpoints:  map[string]*endpoint{},
		events:     map[string]*event{},
		deliveries: map[string]*delivery{},
		keys:       map[idempotencyKey]*event{},
		all:        &rows{},
		tenants:    map[string]*rows{},
		heads:      queue[*endpoint]{before: earlierEndpoint, place: placeInHeads},
	}
}

// Close makes every later call return [webhook.ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// usable is asked by every method once it holds the lock.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return webhook.ErrClosed
	}
	return ctx.Err()
}

// rows are indexes by ID, for lists.
type rows struct {
	endpoints  ordered[*endpoint]
	events     ordered[*event]
	deliveries ordered[*delivery]
	attempts   ordered[*attempt]
}

type idempotencyKey struct{ tenantID, key string }

type event struct {
	webhook.Event
	fingerprint []byte
	deliveries  []*delivery // as far as they are not pruned
}

func (e *event) key() string { return e.ID }

// delivery is a row of the queue. Its times are in microseconds since 1970.
type delivery struct {
	id        string
	event     *event
	endpoint  *endpoint
	createdAt time.Time

	state     webhook.DeliveryState // StateScheduled stands for pending
	counted   webhook.DeliveryState // as which it stands in the endpoint's counts
	dueAt     int64
	nextAt    int64
	updatedAt int64
	endedAt   int64

	leasedBy  string // "": free
	lease     int64
	leasedAt  int64
	leasedFor webhook.Trigger // of the attempt to be made under the lease
	deferred  int64           // the last lease that ended without an attempt

	failed, uncharged, deferrals int

	trigger     webhook.Trigger // of the next attempt
	bulkRetryID string
	failureCode webhook.ErrorCode
	attempts    []*attempt // by number

	// Places in the endpoint's queues, from 1; 0: not in it.
	inDue, inOrder, inLeased int
}

func (d *delivery) key() string { return d.id }

func (d *delivery) pending() bool { return !d.state.Final() }

// leased reports whether a lease is running. One that ran out frees the delivery, although only Claim
// takes note of it.
func (d *delivery) leased(now int64) bool { return d.leasedBy != "" && d.nextAt > now }

func (d *delivery) last() *attempt {
	if len(d.attempts) == 0 {
		return nil
	}
	return d.attempts[len(d.attempts)-1]
}

func (d *delivery) attemptOf(lease int64) *attempt {
	for i := len(d.attempts) - 1; i >= 0; i-- {
		if d.attempts[i].lease == lease {
			return d.attempts[i]
		}
	}
	return nil
}

// end gives the delivery a final state. A second success leaves it ended when it was.
func (d *delivery) end(state webhook.DeliveryState, code webhook.ErrorCode, now int64) {
	if d.state != webhook.StateSucceeded {
		d.endedAt = now
	}
	d.state, d.failureCode, d.updatedAt = state, code, now
}

type attempt struct {
	webhook.DeliveryAttempt
	delivery *delivery
	lease    int64
	lost     bool // written by Claim for a lease that ran out
	applied  bool // its outcome took effect on the delivery
}

func (a *attempt) key() string { return a.ID }

// settle brings counts and queues up to date after d changed.
func (s *Store) settle(d *delivery) {
	e := d.endpoint
	if d.counted != d.state {
		e.count(d.counted, -1)
		e.count(d.state, +1)
		d.counted = d.state
	}
	e.enqueue(d)
	s.refresh(e)
}

// drop removes d with its attempts, and its event if nothing else holds that.
func (s *Store) drop(d *delivery) (attempts, events int) {
	for _, a := range d.attempts {
		s.unlist(a)
	}
	d.endpoint.count(d.counted, -1)
	d.endpoint.dequeue(d)
	s.refresh(d.endpoint)
	delete(s.deliveries, d.id)
	s.all.deliveries.remove(d.id)
	s.tenants[d.event.TenantID].deliveries.remove(d.id)
	if d.event.release(d); len(d.event.deliveries) == 0 {
		s.dropEvent(d.event)
		events = 1
	}
	return len(d.attempts), events
}

func (e *event) release(d *delivery) {
	if i := slices.Index(e.deliveries, d); i >= 0 {
		e.deliveries = slices.Delete(e.deliveries, i, i+1)
	}
}

func (s *Store) dropEvent(e *event) {
	delete(s.events, e.ID)
	s.all.events.remove(e.ID)
	s.tenants[e.TenantID].events.remove(e.ID)
	if e.IdempotencyKey != "" {
		delete(s.keys, idempotencyKey{e.TenantID, e.IdempotencyKey})
	}
}

func (s *Store) list(a *attempt) {
	s.all.attempts.put(a)
	s.tenants[a.TenantID].attempts.put(a)
}

func (s *Store) unlist(a *attempt) {
	s.all.attempts.remove(a.ID)
	s.tenants[a.TenantID].attempts.remove(a.ID)
}

func (s *Store) tenant(tenantID string) *rows {
	r := s.tenants[tenantID]
	if r == nil {
		r = &rows{}
		s.tenants[tenantID] = r
	}
	return r
}

// rowsOf returns the indexes that a query is about.
func (s *Store) rowsOf(tenantID string, allTenants bool) *rows {
	if allTenants {
		return s.all
	}
	if r := s.tenants[tenantID]; r != nil {
		return r
	}
	return &rows{}
}

// whole cuts a time to what the contract keeps: UTC, microseconds.
func whole(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Truncate(time.Microsecond).UTC()
}

func wholePtr(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	w := whole(*t)
	return &w
}

func at(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
