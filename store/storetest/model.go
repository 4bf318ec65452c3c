package storetest

import (
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// model is a store in its plainest form: lists that are gone through from end to end. It does not
// decide which due deliveries a Claim returns; it says which may be returned, and follows.
type model struct {
	generation int64
	endpoints  []*modelEndpoint
	events     []*modelEvent
	deliveries []*modelDelivery
	finished   []finishedAttempt
}

type modelEndpoint struct {
	webhook.EndpointRow
	erased bool
}

type modelEvent struct {
	webhook.Event
	fingerprint string
}

type modelDelivery struct {
	id        string
	event     *modelEvent
	endpoint  *modelEndpoint
	createdAt time.Time
	pending   bool
	state     webhook.DeliveryState // if not pending

	dueAt, nextAt, updatedAt, endedAt time.Time

	leasedBy  string
	lease     int64
	leasedAt  time.Time
	leasedFor webhook.Trigger
	deferred  int64

	failed, uncharged, deferrals int
	trigger                      webhook.Trigger
	bulkRetryID                  string
	failureCode                  webhook.ErrorCode
	attempts                     []*modelAttempt

	returned bool // since then UpdatedAt is the store's choice
}

type modelAttempt struct {
	webhook.DeliveryAttempt
	lease         int64
	lost, applied bool
}

// finishedAttempt is what the counters by hour are made of.
type finishedAttempt struct {
	endpoint *modelEndpoint
	webhook.DeliveryAttempt
}

func (m *model) endpoint(endpointID string) *modelEndpoint {
	for _, e := range m.endpoints {
		if e.ID == endpointID {
			return e
		}
	}
	return nil
}

func (m *model) event(eventID string) *modelEvent {
	for _, e := range m.events {
		if e.ID == eventID {
			return e
		}
	}
	return nil
}

func (m *model) delivery(deliveryID string) *modelDelivery {
	for _, d := range m.deliveries {
		if d.id == deliveryID {
			return d
		}
	}
	return nil
}

func (m *model) receipt(e *modelEvent) webhook.Receipt {
	r := webhook.Receipt{EventID: e.ID, DeliveryIDs: []string{}}
	for _, d := range m.deliveries {
		if d.event == e {
			r.DeliveryIDs = append(r.DeliveryIDs, d.id)
		}
	}
	return r
}

// send works on the model and takes everything back if the group cannot be stored.
func (m *model) send(g webhook.SendGroup, now time.Time) webhook.SendResult {
	events, deliveries := slices.Clone(m.events), slices.Clone(m.deliveries)
	refuse := func(r webhook.SendResult) webhook.SendResult {
		m.events, m.deliveries = events, deliveries
		return r
	}
	r := webhook.SendResult{Status: webhook.SendStored}
	for i, n := range g.Events {
		if n.Replay {
			return m.replay(n, g.Generation, now)
		}
		receipt, conflict := m.sendOne(n, now)
		if conflict {
			return refuse(webhook.SendResult{Status: webhook.SendConflict, ConflictAt: i})
		}
		r.Receipts = append(r.Receipts, receipt)
	}
	if len(m.events) > len(events) && g.Generation != m.generation {
		return refuse(webhook.SendResult{Status: webhook.SendStale})
	}
	return r
}

func (m *model) sendOne(n webhook.NewEvent, now time.Time) (r webhook.Receipt, conflict bool) {
	if e := m.event(n.Event.ID); e != nil {
		return m.receipt(e), false
	}
	for _, e := range m.events {
		if n.Event.IdempotencyKey != "" && e.IdempotencyKey == n.Event.IdempotencyKey && e.TenantID == n.Event.TenantID {
			r := m.receipt(e)
			r.Duplicate = true
			return r, e.fingerprint != string(n.Fingerprint)
		}
	}
	e := &modelEvent{n.Event, string(n.Fingerprint)}
	m.events = append(m.events, e)
	for _, nd := range n.Deliveries {
		m.add(e, nd, e.CreatedAt, now)
	}
	return m.receipt(e), false
}

func (m *model) add(e *modelEvent, n webhook.NewDelivery, createdAt, now time.Time) {
	d := &modelDelivery{
		id: n.ID, event: e, endpoint: m.endpoint(n.EndpointID), createdAt: createdAt, pending: true,
		dueAt: n.DueAt, nextAt: n.DueAt, updatedAt: now, trigger: webhook.TriggerInitial,
	}
	if n.LeasedBy != "" {
		d.lease, d.leasedBy, d.leasedAt, d.leasedFor, d.nextAt = 1, n.LeasedBy, now, d.trigger, n.LeaseUntil
	}
	m.deliveries = append(m.deliveries, d)
}

func (d *modelDelivery) attempt(lease int64) *modelAttempt {
	for _, a := range d.attempts {
		if a.lease == lease {
			return a
		}
	}
	return nil
}

func (m *model) outcome(o webhook.Outcome, now time.Time) (applied bool) {
	d := m.delivery(o.DeliveryID)
	if d == nil {
		return false
	}
	if o.Attempt == nil && d.deferred == o.Lease {
		return true
	}
	var before *modelAttempt
	if o.Attempt != nil {
		if before = d.attempt(o.Lease); before != nil && !before.lost {
			return before.applied
		}
	}
	live := d.leasedBy != "" && d.lease == o.Lease
	success := o.Attempt != nil && o.Attempt.Status == webhook.AttemptSucceeded
	applied = success || live && d.pending
	if live {
		d.leasedBy = ""
	}
	if applied {
		d.apply(o, success, now)
	}
	if o.Attempt != nil {
		m.record(d, o, before, applied, now)
	}
	d.touch(now)
	return applied
}

func (d *modelDelivery) touch(now time.Time) { d.updatedAt, d.returned = now, false }

func (d *modelDelivery) apply(o webhook.Outcome, success bool, now time.Time) {
	d.failed, d.uncharged, d.deferrals = o.Failed, o.Uncharged, o.Deferrals
	if o.Attempt == nil {
		d.deferred = o.Lease
	} else {
		d.trigger, d.bulkRetryID = webhook.TriggerAutomatic, ""
	}
	if success {
		d.end(webhook.StateSucceeded, "", now)
	} else if o.State.Final() {
		d.end(o.State, o.FailureCode, now)
	} else {
		d.dueAt, d.nextAt = o.NextAt, o.NextAt
	}
}

func (d *modelDelivery) end(state webhook.DeliveryState, code webhook.ErrorCode, now time.Time) {
	if d.pending || d.state != webhook.StateSucceeded {
		d.endedAt = now
	}
	d.pending, d.state, d.failureCode = false, state, code
	d.touch(now)
}

func (m *model) record(d *modelDelivery, o webhook.Outcome, before *modelAttempt, applied bool, now time.Time) {
	a := &modelAttempt{DeliveryAttempt: *o.Attempt, lease: o.Lease, applied: applied}
	if before != nil {
		a.AttemptNumber = before.AttemptNumber
		d.attempts[before.AttemptNumber-1] = a
	} else {
		d.attempts = append(d.attempts, a)
		a.AttemptNumber = len(d.attempts)
	}
	if d.event.ErasedAt != nil {
		a.strip(now)
	}
	h := &d.endpoint.Health
	switch a.Status {
	case webhook.AttemptInterrupted:
		return
	case webhook.AttemptFailed:
		if h.FailingSince.IsZero() {
			h.FailingSince = a.StartedAt
		}
		h.Failures++
		h.LastFailureAt = a.CompletedAt
		if applied && d.state == webhook.StateExhausted {
			h.Exhausted++
		}
	case webhook.AttemptSucceeded:
		h.FailingSince, h.Failures, h.Exhausted = time.Time{}, 0, 0
		h.LastSuccessAt = a.CompletedAt.Truncate(time.Minute)
	}
	m.finished = append(m.finished, finishedAttempt{d.endpoint, a.DeliveryAttempt})
}

func (a *modelAttempt) strip(now time.Time) (had bool) {
	had = a.RequestHeaders != nil || a.ResponseHeaders != nil || a.ResponseBodyPreview != nil
	if had {
		a.RequestHeaders, a.ResponseHeaders, a.ResponseBodyPreview, a.DetailPrunedAt = nil, nil, nil, &now
	}
	return had
}

func (m *model) giveBack(r webhook.Return) {
	if d := m.delivery(r.DeliveryID); d != nil && d.leasedBy != "" && d.lease == r.Lease {
		d.leasedBy, d.nextAt, d.returned = "", d.dueAt, true
	}
}

// next returns a delivery of e that may be claimed now: the first by ID of an ordered endpoint, else
// the longest overdue.
func (m *model) next(e *modelEndpoint, now time.Time) (next *modelDelivery) {
	if e.State != webhook.EndpointEnabled {
		return nil
	}
	for _, d := range m.deliveries {
		switch {
		case d.endpoint != e:
		case e.Ordered && d.leased(now):
			return nil
		case !d.pending:
		case e.Ordered && (next == nil || d.id < next.id):
			next = d
		case !e.Ordered && !d.nextAt.After(now) && (next == nil || d.nextAt.Before(next.nextAt)):
			next = d
		}
	}
	if next != nil && next.nextAt.After(now) {
		return nil
	}
	return next
}

// nextDue is when the first delivery of e, other than those just claimed, could be claimed; zero: none.
func (m *model) nextDue(e *modelEndpoint, except map[string]bool) (due time.Time) {
	var first *modelDelivery
	var until time.Time
	for _, d := range m.deliveries {
		if d.endpoint != e {
			continue
		}
		if d.leasedBy != "" && d.nextAt.After(until) {
			until = d.nextAt
		}
		if d.pending && (first == nil || d.id < first.id) {
			first = d
		}
		if d.pending && !except[d.id] && (due.IsZero() || d.nextAt.Before(due)) {
			due = d.nextAt
		}
	}
	if !e.Ordered || first == nil {
		return due
	}
	if first.nextAt.After(until) {
		until = first.nextAt
	}
	return until
}

// claim leases d as a store must. interruptedID names the attempt that the store says it recorded, if any.
func (m *model) claim(d *modelDelivery, r webhook.ClaimRequest, interruptedID string) (webhook.Claim, *modelAttempt) {
	var lost *modelAttempt
	if d.leasedBy != "" {
		lost = &modelAttempt{lease: d.lease, lost: true, DeliveryAttempt: webhook.DeliveryAttempt{
			ID: interruptedID, TenantID: d.event.TenantID, EventID: d.event.ID, EventType: d.event.Type, DeliveryID: d.id,
			EndpointID: d.endpoint.ID, AttemptNumber: len(d.attempts) + 1, Trigger: d.leasedFor, BulkRetryID: d.bulkRetryID,
			Status: webhook.AttemptInterrupted, Method: "POST", URL: d.endpoint.URL, ErrorCode: webhook.CodeInterrupted,
			Error: webhook.InterruptedError, StartedAt: d.leasedAt, CompletedAt: r.Now,
			DurationMS: r.Now.Sub(d.leasedAt).Milliseconds(),
		}}
		d.attempts = append(d.attempts, lost)
		d.trigger, d.bulkRetryID = webhook.TriggerAutomatic, ""
		if d.uncharged < 10 {
			d.uncharged++
		} else {
			d.failed++
		}
	}
	trigger, released := d.trigger, d.endpoint.ReleasedAt
	if trigger != webhook.TriggerManual && trigger != webhook.TriggerBulkRetry && !released.IsZero() && !d.dueAt.After(released) {
		trigger = webhook.TriggerUnpause
	}
	d.lease++
	d.leasedBy, d.leasedAt, d.leasedFor, d.nextAt = r.Owner, r.Now, trigger, r.LeaseUntil
	d.touch(r.Now)
	return webhook.Claim{
		DeliveryID: d.id, EndpointID: d.endpoint.ID, Event: d.event.Event, Lease: d.lease, LeaseUntil: r.LeaseUntil,
		AttemptNumber: len(d.attempts) + 1, Failed: d.failed, Uncharged: d.uncharged, Deferrals: d.deferrals,
		Trigger: trigger, BulkRetryID: d.bulkRetryID, DueAt: d.dueAt, CreatedAt: d.createdAt,
	}, lost
}

func (d *modelDelivery) leased(now time.Time) bool { return d.leasedBy != "" && d.nextAt.After(now) }

// requeue returns the answers that are right; several where more than one reason forbids it.
func (m *model) requeue(deliveryID string, r webhook.RequeueRequest) (right []webhook.RequeueResult) {
	d := m.delivery(deliveryID)
	if d == nil {
		return []webhook.RequeueResult{webhook.RequeueNotFound}
	}
	if r.Action == webhook.RequeueCancel {
		if !d.pending || r.BulkRetryID != "" && d.bulkRetryID != r.BulkRetryID {
			return []webhook.RequeueResult{webhook.RequeueFinished}
		}
		d.end(webhook.StateCanceled, r.Code, r.Now)
		return []webhook.RequeueResult{webhook.RequeueDone}
	}
	if d.leased(r.Now) {
		right = append(right, webhook.RequeueLeased)
	}
	if d.event.ErasedAt != nil {
		right = append(right, webhook.RequeueErased)
	}
	if d.endpoint.Deleted() {
		right = append(right, webhook.RequeueDeleted)
	}
	if right != nil {
		return right
	}
	if !d.pending {
		d.pending, d.state, d.failed, d.failureCode, d.leasedBy = true, "", 0, "", ""
	}
	if d.leasedBy == "" {
		d.trigger, d.bulkRetryID = r.Trigger, r.BulkRetryID
	}
	d.dueAt, d.nextAt = r.Now, r.Now
	d.touch(r.Now)
	return []webhook.RequeueResult{webhook.RequeueDone}
}

// prune does a whole round. shown tells what the store made of a delivery that could end in two ways.
func (m *model) prune(r webhook.PruneRequest, shown func(*modelDelivery) webhook.DeliveryState) (sum webhook.PruneResult) {
	old := func(t time.Time) bool { return !r.FinishedBefore.IsZero() && t.Before(r.FinishedBefore) }
	var gone []*modelDelivery
	for _, d := range m.deliveries {
		for _, a := range d.attempts {
			if !r.DetailBefore.IsZero() && a.CompletedAt.Before(r.DetailBefore) {
				a.strip(r.Now)
			}
		}
		cancel, expire := d.endpoint.CancelPending != "", !d.event.ExpiresAt.IsZero() && !d.event.ExpiresAt.After(r.Now)
		switch {
		case d.leased(r.Now):
		case !d.pending && old(d.endedAt):
			gone = append(gone, d)
		case !d.pending:
		case cancel && (!expire || shown(d) == webhook.StateCanceled):
			d.end(webhook.StateCanceled, d.endpoint.CancelPending, r.Now)
			sum.Canceled++
		case expire:
			d.end(webhook.StateExpired, webhook.CodeCancelledPastRetention, r.Now)
			sum.Expired++
		}
	}
	emptied := map[*modelEvent]bool{}
	for _, d := range gone {
		sum.Deliveries++
		sum.Attempts += len(d.attempts)
		emptied[d.event] = true
	}
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d *modelDelivery) bool { return slices.Contains(gone, d) })
	m.events = slices.DeleteFunc(m.events, func(e *modelEvent) bool {
		goes := len(m.receipt(e).DeliveryIDs) == 0 && (emptied[e] || old(e.CreatedAt))
		if goes {
			sum.Events++
		}
		return goes
	})
	return sum
}

func (m *model) eraseEvent(e *modelEvent, now time.Time) (canceled []string) {
	e.Payload = nil
	if e.ErasedAt == nil {
		e.ErasedAt = &now
	}
	for _, d := range m.deliveries {
		if d.event != e {
			continue
		}
		for _, a := range d.attempts {
			a.strip(now)
		}
		if d.pending {
			d.end(webhook.StateCanceled, webhook.CodeDataArchived, now)
			canceled = append(canceled, d.id)
		}
	}
	return canceled
}

func (m *model) eraseTenant(tenantID string) (canceled []string) {
	m.deliveries = slices.DeleteFunc(m.deliveries, func(d *modelDelivery) bool {
		if d.event.TenantID == tenantID && d.pending {
			canceled = append(canceled, d.id)
		}
		return d.event.TenantID == tenantID
	})
	m.events = slices.DeleteFunc(m.events, func(e *modelEvent) bool { return e.TenantID == tenantID })
	m.finished = slices.DeleteFunc(m.finished, func(f finishedAttempt) bool { return f.endpoint.TenantID == tenantID })
	for _, e := range m.endpoints {
		if e.TenantID == tenantID {
			e.erased, e.State = true, webhook.EndpointDeleted
		}
	}
	slices.Sort(canceled)
	return canceled
}
