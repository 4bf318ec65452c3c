package webhook

import (
	"context"
	"errors"
	"time"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/id"
)

// commit is one item of a group commit: a caller's events, the result of a job, or a job handed back.
type commit struct {
	group   *SendGroup
	matched [][]*known     // by event
	jobs    [][]*job       // by event: deliveries that are handed over
	run     *run           // that the jobs are for, or that the result is from
	full    []*lane        // by delivery: those that had no room for it
	wake    bool           // what it stores is to be claimed at once, since not all of it is handed over
	refusal error          // why it may not be stored, unless it is all a repetition
	done    chan sendReply // holds one

	result *result
	back   *job
	owed   bool // the store could not take it when it was last tried; the Batcher's goroutine's
}

type sendReply struct {
	result SendResult
	err    error
}

// result is what came of a job.
type result struct {
	outcome  Outcome
	claim    Claim
	endpoint *known
}

const (
	resultLinger  = 2 * time.Millisecond // results wait so long for company while no Send waits
	maxCommit     = 1024                 // deliveries
	commitTimeout = time.Minute
)

func (c *commit) weight() int {
	if c.group == nil {
		return 1
	}
	n := 0
	for i := range c.group.Events {
		n += 1 + len(c.group.Events[i].Deliveries)
	}
	return n
}

// flushAll writes one batch and keeps account of what is owed to the store.
func (d *Dispatcher) flushAll(items []*commit) (again []*commit, wait time.Duration) {
	owed := 0
	for _, c := range items {
		if c.owed {
			owed--
		}
	}
	again, wait = d.flush(items)
	for _, c := range again {
		c.owed = true
		owed++
	}
	if d.owe(owed) {
		d.Wake()
	}
	return again, wait
}

// flush writes one batch. Results that the store could not take come back to be tried again; callers of
// Send get the error at once.
func (d *Dispatcher) flush(items []*commit) (again []*commit, wait time.Duration) {
	// The batch is nobody's in particular: no caller's end may take the others' commits along.
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	res, err := d.store.Commit(ctx, d.batchOf(items))
	if err == nil {
		d.storeWorks()
		return d.committed(items, res), 0
	}
	var item *ItemError
	if errors.As(err, &item) {
		return d.flushEach(items, item)
	}
	wait = d.storeFails(err)
	for _, c := range items {
		if c.group != nil {
			d.refuse(c, err)
		} else {
			again = append(again, c)
		}
	}
	return again, wait
}

func (d *Dispatcher) batchOf(items []*commit) Batch {
	b := Batch{Now: d.now()}
	lease := d.leaseFrom(b.Now)
	for _, c := range items {
		switch {
		case c.group != nil:
			c.leaseUntil(lease)
			b.Sends = append(b.Sends, *c.group)
		case c.result != nil:
			b.Outcomes = append(b.Outcomes, c.result.outcome)
		default:
			b.Returned = append(b.Returned, Return{DeliveryID: c.back.claim.DeliveryID, Lease: c.back.claim.Lease})
		}
	}
	return b
}

// leaseUntil sets the leases of deliveries that are handed over. The group may have waited long for its turn.
func (c *commit) leaseUntil(t time.Time) {
	for i, jobs := range c.jobs {
		for _, j := range jobs {
			j.claim.LeaseUntil = t
		}
		deliveries := c.group.Events[i].Deliveries
		for n := range deliveries {
			if deliveries[n].LeasedBy != "" {
				deliveries[n].LeaseUntil = t
			}
		}
	}
}

// flushEach finds the items that a batch failed for, by trying each alone.
func (d *Dispatcher) flushEach(items []*commit, fault *ItemError) (again []*commit, wait time.Duration) {
	if len(items) == 1 {
		return d.abandon(items[0], fault)
	}
	for _, c := range items {
		left, pause := d.flush([]*commit{c})
		again, wait = append(again, left...), max(wait, pause)
	}
	return again, wait
}

// abandon gives up an item that the store cannot take. A result is tried once more without what the
// receiver sent; failing that, its lease runs out and the delivery is tried again.
func (d *Dispatcher) abandon(c *commit, fault *ItemError) (again []*commit, wait time.Duration) {
	if c.group != nil {
		d.refuse(c, fault)
		return nil, 0
	}
	if c.result != nil && c.result.outcome.Attempt != nil && c.result.outcome.Attempt.RequestHeaders != nil {
		a := c.result.outcome.Attempt
		a.RequestHeaders, a.ResponseHeaders, a.ResponseBodyPreview, a.ResponseBodyTruncated = nil, nil, nil, true
		return d.flush([]*commit{c})
	}
	d.log.Error("webhook: the store refuses a result; the delivery will be tried again when its lease ends", "error", fault)
	c.run.queue.settle(1)
	return nil, 0
}

func (d *Dispatcher) refuse(c *commit, err error) {
	for _, jobs := range c.jobs {
		c.run.queue.release(jobs)
	}
	if len(c.full) > 0 {
		c.run.queue.stayed(c.full)
	}
	c.done <- sendReply{err: err}
}

// committed tells everybody concerned. It returns what must be written again under another ID.
func (d *Dispatcher) committed(items []*commit, res Result) (again []*commit) {
	sends, outcomes := res.Sends, res.Outcomes
	settled := map[*run]int{}
	for _, c := range items {
		switch {
		case c.group != nil:
			d.stored(c, sends[0])
			sends = sends[1:]
		case c.result != nil:
			if outcomes[0].Taken {
				c.result.outcome.Attempt.ID = d.newID(id.Attempt)
				again = append(again, c)
			} else {
				settled[c.run]++
				d.recorded(c, outcomes[0])
			}
			outcomes = outcomes[1:]
		default:
			settled[c.run]++
		}
	}
	for r, n := range settled {
		r.queue.settle(n)
	}
	return again
}

// stored puts handed-over deliveries into the queue and answers the caller.
func (d *Dispatcher) stored(c *commit, res SendResult) {
	for i, jobs := range c.jobs {
		if res.Status != SendStored || res.Receipts[i].Duplicate {
			c.run.queue.release(jobs)
			continue
		}
		for _, j := range c.run.queue.admit(jobs) {
			d.commits.Add(&commit{run: c.run, back: j}, batch.Soon)
		}
	}
	wake := len(c.full) > 0 && c.run.queue.stayed(c.full)
	if (wake || c.wake) && res.Status == SendStored {
		d.Wake()
	}
	if res.Status == SendStored {
		d.reportSent(c, res)
	}
	c.done <- sendReply{result: res}
}

// reportSent comes before the answer, so that who counts knows of the event when Send returns.
func (d *Dispatcher) reportSent(c *commit, res SendResult) {
	if d.cfg.Observer == nil {
		return
	}
	for i := range res.Receipts {
		if c.group.Events[i].Replay {
			continue
		}
		e := c.group.Events[i].Event
		e.Payload = nil
		d.observe(Notice{Kind: NoticeSent, Event: &e, Receipt: &res.Receipts[i]})
	}
}

// recorded acts on a result that is in the store.
func (d *Dispatcher) recorded(c *commit, res OutcomeResult) {
	o := &c.result.outcome
	if res.Applied && o.State == StateScheduled {
		c.run.dueAt(o.NextAt)
	} else if c.result.endpoint.endpoint.Ordered {
		c.run.poke() // the next in order waited for this
	}
	c.run.noteHealth(c.result, res.Health)
	d.reportResult(c.result, res)
	endpointID := c.result.claim.EndpointID
	if o.FailureCode == CodeEndpointGone {
		c.run.background(func() { d.disableGone(endpointID) })
	} else if d.failedLongEnough(res.Health) {
		c.run.background(func() { d.disableFailing(endpointID) })
	}
}
