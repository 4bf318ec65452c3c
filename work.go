package webhook

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/id"
)

// work makes attempts until the queue is closed.
func (r *run) work() {
	for {
		j := r.queue.take()
		if j == nil {
			return
		}
		r.deliver(j)
	}
}

// deliver makes the attempt that a job is for, if it may still be made, and passes on what came of it.
func (r *run) deliver(j *job) {
	d, c := r.d, &j.claim
	k := d.directory.get(c.EndpointID)
	now := d.now()
	switch {
	case k == nil || k.row.State != EndpointEnabled || c.LeaseUntil.Sub(now) < d.timeoutOf(k)+startMargin ||
		d.erasures.cover(c, now):
		r.queue.finish(j, unknownCapacity)
		d.commits.Add(&commit{run: r, back: j}, batch.Soon)
		return
	case j.late:
		r.finish(j, k, putOff(c), unknownCapacity)
		return
	case !c.Event.ExpiresAt.IsZero() && !c.Event.ExpiresAt.After(now):
		r.finish(j, k, Outcome{State: StateExpired, FailureCode: CodeCancelledPastRetention, Failed: c.Failed}, unknownCapacity)
		return
	case c.Uncharged >= freeFailures && d.spent(c, k):
		r.finish(j, k, Outcome{State: StateExhausted, FailureCode: CodeInterrupted, Failed: c.Failed, Uncharged: c.Uncharged}, unknownCapacity)
		return
	}
	a := d.sender.attempt(r.attempts, *c, k.target)
	a.ID = d.attemptID(c, &a)
	a.CreatedAt, a.UpdatedAt = a.CompletedAt, a.CompletedAt
	if a.Status == AttemptFailed && c.early(&a) { // at once: others may be about to follow
		d.probes.failed(c.EndpointID, d.now(), true, &a, true)
	}
	r.finish(j, k, d.decideSafely(*c, &k.endpoint, &a), capacityOf(&a))
}

// soon is how long after its delivery an attempt may start and have its ULID: lists by time take an ID for
// about when an attempt began.
const soon = time.Second

// attemptID gives the first attempt of a delivery that goes out at once the ULID of its delivery, by which
// a store can find it without an index; any other attempt has one of its own.
func (d *Dispatcher) attemptID(c *Claim, a *DeliveryAttempt) string {
	if c.Lease == 1 && c.AttemptNumber == 1 && a.StartedAt.Sub(c.CreatedAt) < soon {
		if key, _, ok := id.Split(id.Delivery, c.DeliveryID); ok && id.Time(key).Sub(a.StartedAt).Abs() < soon {
			return id.Attempt + c.DeliveryID[len(id.Delivery):]
		}
	}
	return d.newID(id.Attempt)
}

func (r *run) finish(j *job, k *known, o Outcome, c capacity) {
	r.queue.finish(j, c)
	r.report(j, k, o)
}

// report passes on what became of a job that has no slot.
func (r *run) report(j *job, k *known, o Outcome) {
	o.DeliveryID, o.Lease, o.Deferrals = j.claim.DeliveryID, j.claim.Lease, j.claim.Deferrals
	if j.deferred {
		o.Deferrals++
	}
	urgency := batch.Patient
	switch {
	case k.endpoint.Ordered: // the next in order waits for it
		urgency = batch.Soon
	case o.State != StateSucceeded || !j.from.IsZero(): // of an endpoint in trouble
		urgency = batch.Lazy
	}
	r.d.commits.Add(&commit{run: r, result: &result{outcome: o, claim: j.claim, endpoint: k}}, urgency)
}

func capacityOf(a *DeliveryAttempt) capacity {
	switch {
	case a.Status == AttemptSucceeded:
		return moreCapacity
	case a.ErrorCode == CodeTimeout:
		return lessCapacity
	}
	return unknownCapacity
}

// spent reports that interrupted attempts alone have used up the round.
func (d *Dispatcher) spent(c *Claim, k *known) bool {
	if c.Failed == 0 {
		return false
	}
	_, again := d.retryPolicy(&k.endpoint).Next(c.Failed)
	return !again
}

// decideSafely is decide for policies that may panic.
func (d *Dispatcher) decideSafely(c Claim, e *Endpoint, a *DeliveryAttempt) (o Outcome) {
	defer func() {
		if v := recover(); v != nil {
			d.log.Error("webhook: panic in a RetryPolicy; trying again in a minute",
				"delivery", c.DeliveryID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			next := micros(a.CompletedAt.Add(throttleWait))
			a.NextAttemptAt = &next
			o = Outcome{Attempt: a, State: StateScheduled, NextAt: next, Failed: c.Failed + 1}
		}
	}()
	return d.decide(c, e, a)
}

func (d *Dispatcher) timeoutOf(k *known) time.Duration {
	if k.endpoint.Timeout > 0 {
		return k.endpoint.Timeout
	}
	return d.cfg.AttemptTimeout
}
