package webhook

import (
	"slices"
	"sync"
	"time"
)

// probes find out that an endpoint works again before its next retry is due. An endpoint that failed
// failingAfter times in a row and had no attempt for a while gets one of its waiting retries ahead of time:
// after 5 minutes, then after 10, 20 and 40, then every hour, and never before a Retry-After has passed. A
// probe that fails costs the delivery nothing: it is uncharged, and due when it was. One that succeeds
// releases the endpoint: its other retries are claimed ahead of time, one at a time at first and more
// with each success, until none is left or one fails.
//
// What waits for its DeliverAt is not touched. Each process that met the failures probes by itself.
type probes struct {
	mu      sync.Mutex
	byID    map[string]*probe // by endpoint
	soonest time.Time         // nothing is to be asked for before; zero: nothing at all
}

type probe struct {
	next      time.Time
	wait      time.Duration
	recovered bool // it works again, and its retries are being released
}

const (
	probeFirst = 5 * time.Minute
	probeMost  = time.Hour
	probesOnce = 32 // endpoints in one claim
)

// failed notes a failure. It makes an endpoint one to be probed if that does nothing but fail.
func (p *probes) failed(endpointID string, now time.Time, failing bool, a *DeliveryAttempt, early bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[endpointID]
	switch {
	case e == nil && !failing:
		return
	case e == nil:
		e = p.add(endpointID)
	case e.recovered:
		e.wait = probeFirst
	case early:
		e.wait = min(2*e.wait, probeMost)
	}
	e.recovered = false
	e.next = now.Add(e.wait)
	if a != nil {
		e.next = latest(e.next, a.CompletedAt.Add(delay(0, a)))
	}
	p.soonest = soonest(p.soonest, e.next)
}

func (p *probes) add(endpointID string) *probe {
	if p.byID == nil {
		p.byID = map[string]*probe{}
	}
	e := &probe{wait: probeFirst}
	p.byID[endpointID] = e
	return e
}

// succeeded reports whether the endpoint was being probed, and is to be released now.
func (p *probes) succeeded(endpointID string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[endpointID]
	if e == nil || e.recovered {
		return false
	}
	e.recovered, e.next = true, now
	p.soonest = soonest(p.soonest, now)
	return true
}

// failing reports whether an endpoint is being probed, and no probe has succeeded.
func (p *probes) failing(endpointID string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byID[endpointID]
	return e != nil && !e.recovered
}

func (p *probes) forget(endpointID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, endpointID)
}

// wanted returns from which endpoints a claim should take retries ahead of time, and how many at most.
func (p *probes) wanted(now time.Time, exclude []string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.soonest.IsZero() || p.soonest.After(now) {
		return nil
	}
	early := map[string]int{}
	p.soonest = time.Time{}
	for id, e := range p.byID {
		if !e.next.After(now) && len(early) < probesOnce && !slices.Contains(exclude, id) {
			early[id] = 1
			if e.recovered {
				early[id] = 1 << 20 // as many as its lane takes
			} else {
				e.next = now.Add(e.wait)
			}
		}
		p.soonest = soonest(p.soonest, e.next)
	}
	return early
}

// got takes in what a claim yielded. It returns the released endpoints that may have more, and forgets
// those that have none.
func (p *probes) got(early map[string]int, claims []Claim, now time.Time) (more []string) {
	if len(early) == 0 {
		return nil
	}
	yielded := map[string]bool{}
	for i := range claims {
		if claims[i].DueAt.After(now) {
			yielded[claims[i].EndpointID] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range early {
		e := p.byID[id]
		switch {
		case e == nil || !e.recovered:
		case yielded[id]:
			more = append(more, id)
		default:
			delete(p.byID, id)
		}
	}
	return more
}

// noteHealth follows what a result says about its endpoint.
func (r *run) noteHealth(res *result, health EndpointHealth) {
	a := res.outcome.Attempt
	if a == nil {
		return
	}
	d, id := r.d, res.claim.EndpointID
	switch {
	case a.Status == AttemptSucceeded:
		if d.probes.succeeded(id, d.now()) {
			if k := d.directory.get(id); k != nil && k.row.State == EndpointEnabled {
				r.queue.changed(k, true)
				r.poke()
			}
		}
	case a.Status == AttemptFailed && !res.claim.early(a):
		d.probes.failed(id, d.now(), health.Failures >= failingAfter, a, false)
	}
}

// early reports whether an attempt was made ahead of its time: a probe, or a retry released after one.
func (c *Claim) early(a *DeliveryAttempt) bool { return c.DueAt.After(a.StartedAt) }

// rememberFailing takes over from the store what an earlier process knew.
func (d *Dispatcher) rememberFailing(rows []EndpointRow) {
	now := d.now()
	for _, row := range rows {
		if row.State == EndpointEnabled && row.Health.Failures >= failingAfter {
			d.failing.Store(row.ID, true)
			d.tellAgain(row)
			d.probes.failed(row.ID, now, true, nil, false)
		}
	}
}
