package memory

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/outhook/webhook"
)

// Commit implements [webhook.Store].
func (s *Store) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return webhook.Result{}, err
	}
	// All that can refuse the batch comes before the first change.
	if err := s.check(b.Sends); err != nil {
		return webhook.Result{}, err
	}
	now := b.Now.UnixMicro()
	r := webhook.Result{
		Generation: s.generation,
		Sends:      make([]webhook.SendResult, len(b.Sends)),
		Outcomes:   make([]webhook.OutcomeResult, len(b.Outcomes)),
	}
	for i, g := range b.Sends {
		r.Sends[i] = s.send(g, now)
	}
	for i, o := range b.Outcomes {
		r.Outcomes[i] = s.outcome(o, now)
	}
	for _, ret := range b.Returned {
		s.giveBack(ret)
	}
	for i, o := range b.Outcomes {
		if d := s.deliveries[o.DeliveryID]; d != nil {
			r.Outcomes[i].Health = d.endpoint.row.Health
		}
	}
	return r, nil
}

func (s *Store) check(groups []webhook.SendGroup) error {
	for _, g := range groups {
		for _, ev := range g.Events {
			for _, d := range ev.Deliveries {
				if s.endpoints[d.EndpointID] == nil {
					return &webhook.ItemError{Err: fmt.Errorf("delivery %s: %w", d.ID, endpointNotFound(d.EndpointID))}
				}
			}
		}
	}
	return nil
}

// send stores a group, or finds out why it cannot be.
func (s *Store) send(g webhook.SendGroup, now int64) webhook.SendResult {
	p := plan{store: s, receipts: make([]webhook.Receipt, 0, len(g.Events))}
	for i := range g.Events {
		if status := p.add(&g.Events[i]); status == webhook.SendConflict {
			return webhook.SendResult{Status: status, ConflictAt: i}
		} else if status != webhook.SendStored {
			return webhook.SendResult{Status: status}
		}
	}
	if len(p.fresh) > 0 && g.Generation != s.generation {
		return webhook.SendResult{Status: webhook.SendStale}
	}
	for _, ev := range p.fresh {
		if ev.Replay {
			s.add(s.events[ev.Event.ID], p.missing, now)
		} else {
			s.insert(ev, now)
		}
	}
	return webhook.SendResult{Status: webhook.SendStored, Receipts: p.receipts}
}

// plan sorts the events of a group into those to be stored and those that stand already.
type plan struct {
	store    *Store
	receipts []webhook.Receipt
	fresh    []*webhook.NewEvent
	missing  []webhook.NewDelivery // of a replay
}

func (p *plan) add(ev *webhook.NewEvent) webhook.SendStatus {
	if ev.Replay {
		return p.replay(ev)
	}
	first, known := p.sameKey(ev)
	switch {
	case p.store.events[ev.Event.ID] != nil: // by an earlier try
		p.receipts = append(p.receipts, receiptOf(ev))
		return webhook.SendStored
	case known && !bytes.Equal(first.Fingerprint, ev.Fingerprint):
		return webhook.SendConflict
	case known:
		r := receiptOf(first)
		r.Duplicate = true
		p.receipts = append(p.receipts, r)
		return webhook.SendStored
	}
	if p.taken(ev.Deliveries) {
		return webhook.SendTaken
	}
	p.fresh = append(p.fresh, ev)
	p.receipts = append(p.receipts, receiptOf(ev))
	return webhook.SendStored
}

func (p *plan) taken(deliveries []webhook.NewDelivery) bool {
	return slices.ContainsFunc(deliveries, func(d webhook.NewDelivery) bool { return p.store.deliveries[d.ID] != nil })
}

// replay finds the endpoints that the event has no delivery to yet.
func (p *plan) replay(ev *webhook.NewEvent) webhook.SendStatus {
	e := p.store.events[ev.Event.ID]
	if e == nil {
		return webhook.SendGone
	}
	r := receiptOf(ev)
	r.Duplicate = true
	for i, n := range ev.Deliveries {
		d := e.deliveryTo(n.EndpointID)
		if d == nil {
			p.missing = append(p.missing, n)
		} else {
			r.DeliveryIDs[i] = d.id
		}
		r.Duplicate = r.Duplicate && r.DeliveryIDs[i] != n.ID
	}
	switch {
	case len(p.missing) > 0 && e.ErasedAt != nil:
		return webhook.SendGone
	case p.taken(p.missing):
		return webhook.SendTaken
	case len(p.missing) > 0:
		p.fresh = append(p.fresh, ev)
	}
	p.receipts = append(p.receipts, r)
	return webhook.SendStored
}

func (e *event) deliveryTo(endpointID string) *delivery {
	for _, d := range e.deliveries {
		if d.endpoint.row.ID == endpointID {
			return d
		}
	}
	return nil
}

// sameKey finds the event that has this one's idempotency key, in the store or earlier in the group.
func (p *plan) sameKey(ev *webhook.NewEvent) (*webhook.NewEvent, bool) {
	if ev.Event.IdempotencyKey == "" {
		return nil, false
	}
	key := idempotencyKey{ev.Event.TenantID, ev.Event.IdempotencyKey}
	if e := p.store.keys[key]; e != nil {
		first := &webhook.NewEvent{Event: e.Event, Fingerprint: e.fingerprint}
		for _, d := range e.deliveries {
			first.Deliveries = append(first.Deliveries, webhook.NewDelivery{ID: d.id})
		}
		return first, true
	}
	for _, other := range p.fresh {
		if key == (idempotencyKey{other.Event.TenantID, other.Event.IdempotencyKey}) {
			return other, true
		}
	}
	return nil, false
}

func receiptOf(ev *webhook.NewEvent) webhook.Receipt {
	r := webhook.Receipt{EventID: ev.Event.ID, DeliveryIDs: make([]string, len(ev.Deliveries))}
	for i, d := range ev.Deliveries {
		r.DeliveryIDs[i] = d.ID
	}
	return r
}

func (s *Store) insert(n *webhook.NewEvent, now int64) {
	ev := &event{Event: n.Event, fingerprint: n.Fingerprint}
	ev.CreatedAt, ev.DeliverAt, ev.ExpiresAt = whole(ev.CreatedAt), whole(ev.DeliverAt), whole(ev.ExpiresAt)
	s.events[ev.ID] = ev
	if ev.IdempotencyKey != "" {
		s.keys[idempotencyKey{ev.TenantID, ev.IdempotencyKey}] = ev
	}
	s.all.events.put(ev)
	s.tenant(ev.TenantID).events.put(ev)
	ev.deliveries = make([]*delivery, 0, len(n.Deliveries))
	for _, nd := range n.Deliveries {
		s.addDelivery(newDelivery(ev, s.endpoints[nd.EndpointID], nd, now))
	}
}

// add gives an event that is stored more deliveries.
func (s *Store) add(ev *event, deliveries []webhook.NewDelivery, now int64) {
	for _, nd := range deliveries {
		d := newDelivery(ev, s.endpoints[nd.EndpointID], nd, now)
		d.createdAt = at(now)
		s.addDelivery(d)
	}
}

func (s *Store) addDelivery(d *delivery) {
	d.event.deliveries = append(d.event.deliveries, d)
	s.deliveries[d.id] = d
	s.all.deliveries.put(d)
	s.tenant(d.event.TenantID).deliveries.put(d)
	s.settle(d)
}

func newDelivery(ev *event, e *endpoint, n webhook.NewDelivery, now int64) *delivery {
	due := n.DueAt.UnixMicro()
	d := &delivery{
		id: n.ID, event: ev, endpoint: e, createdAt: ev.CreatedAt, state: webhook.StateScheduled,
		dueAt: due, nextAt: due, updatedAt: now, trigger: webhook.TriggerInitial,
	}
	if n.LeasedBy != "" {
		d.leaseTo(n.LeasedBy, now, n.LeaseUntil.UnixMicro(), d.trigger)
	}
	return d
}

func (d *delivery) leaseTo(owner string, now, until int64, trigger webhook.Trigger) {
	d.lease++
	d.leasedBy, d.leasedAt, d.leasedFor, d.nextAt = owner, now, trigger, until
}

// outcome takes up what became of a claim. The lease's counter decides whether it is live, not its
// end: nobody else can have claimed the delivery while the counter stands.
func (s *Store) outcome(o webhook.Outcome, now int64) webhook.OutcomeResult {
	d := s.deliveries[o.DeliveryID]
	if d == nil {
		return webhook.OutcomeResult{}
	}
	if applied, repeated := d.had(o); repeated {
		return webhook.OutcomeResult{Applied: applied}
	}
	if o.Attempt != nil && s.taken(o.Attempt.ID, d, o.Lease) {
		return webhook.OutcomeResult{Taken: true}
	}
	live := d.leasedBy != "" && d.lease == o.Lease
	succeeded := o.Attempt != nil && o.Attempt.Status == webhook.AttemptSucceeded
	applied := succeeded || live && d.pending()
	if live {
		d.leasedBy = ""
	}
	if applied {
		d.apply(o, succeeded, now)
	}
	if o.Attempt != nil {
		a := s.record(d, o.Lease, *o.Attempt, now)
		a.applied = applied
		d.endpoint.observe(a, applied && d.state == webhook.StateExhausted)
	}
	d.updatedAt = now
	s.settle(d)
	return webhook.OutcomeResult{Applied: applied}
}

// had reports whether the outcome was committed before, and what the answer was.
func (d *delivery) had(o webhook.Outcome) (applied, repeated bool) {
	if o.Attempt == nil {
		return d.deferred == o.Lease, d.deferred == o.Lease
	}
	if a := d.attemptOf(o.Lease); a != nil && !a.lost {
		return a.applied, true
	}
	return false, false
}

// taken reports whether an attempt ID stands for another attempt.
func (s *Store) taken(attemptID string, d *delivery, lease int64) bool {
	a, ok := s.all.attempts.get(attemptID)
	return ok && (a.delivery != d || a.lease != lease)
}

func (d *delivery) apply(o webhook.Outcome, succeeded bool, now int64) {
	d.failed, d.uncharged, d.deferrals = o.Failed, o.Uncharged, o.Deferrals
	if o.Attempt == nil {
		d.deferred = o.Lease
	} else {
		d.trigger, d.bulkRetryID = webhook.TriggerAutomatic, ""
	}
	switch {
	case succeeded:
		d.end(webhook.StateSucceeded, "", now)
	case o.State.Final():
		d.end(o.State, o.FailureCode, now)
	default:
		d.dueAt = o.NextAt.UnixMicro()
		d.nextAt = d.dueAt
	}
}

// record stores an attempt under its lease. It takes the place of an interrupted one of the same lease;
// else it gets the next number, which is that of its claim unless a lease was lost unseen in between.
func (s *Store) record(d *delivery, lease int64, given webhook.DeliveryAttempt, now int64) *attempt {
	given.AttemptNumber = len(d.attempts) + 1
	given.TenantID, given.EventID, given.EventType = d.event.TenantID, d.event.ID, d.event.Type
	given.DeliveryID, given.EndpointID = d.id, d.endpoint.row.ID
	if given.CreatedAt.IsZero() {
		given.CreatedAt = at(now)
	}
	if given.UpdatedAt.IsZero() {
		given.UpdatedAt = at(now)
	}
	cutTimes(&given)
	if d.event.ErasedAt != nil {
		strip(&given, now)
	}
	a := &attempt{DeliveryAttempt: given, delivery: d, lease: lease}
	if lost := d.attemptOf(lease); lost != nil {
		s.unlist(lost)
		a.AttemptNumber = lost.AttemptNumber
		d.attempts[lost.AttemptNumber-1] = a
	} else {
		d.attempts = append(d.attempts, a)
	}
	s.list(a)
	return a
}

// giveBack frees a claim that was not tried.
func (s *Store) giveBack(r webhook.Return) {
	d := s.deliveries[r.DeliveryID]
	if d == nil || d.leasedBy == "" || d.lease != r.Lease {
		return
	}
	d.leasedBy, d.nextAt = "", d.dueAt
	s.settle(d)
}

func cutTimes(a *webhook.DeliveryAttempt) {
	a.StartedAt, a.CompletedAt = whole(a.StartedAt), whole(a.CompletedAt)
	a.CreatedAt, a.UpdatedAt = whole(a.CreatedAt), whole(a.UpdatedAt)
	a.DeliveredAt, a.RespondedAt = wholePtr(a.DeliveredAt), wholePtr(a.RespondedAt)
	a.NextAttemptAt, a.DetailPrunedAt = wholePtr(a.NextAttemptAt), wholePtr(a.DetailPrunedAt)
}
