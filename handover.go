package webhook

import (
	"slices"
	"time"
)

// reserve makes room for a fresh delivery of an endpoint. Without room it returns the lane: the delivery
// must wait in the store, and stayed be called once it is there.
func (q *queue) reserve(k *known, bytes int) (*job, *lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lane(k)
	if q.draining || q.held || l.backlog && !l.overtakable(q.now()) || !q.fits(l, bytes) {
		l.stored = true
		l.storing++
		return nil, l
	}
	l.reserved++
	q.reserved++
	q.bytes += bytes
	j := &job{bytes: bytes, lane: l, overtakes: l.backlog}
	if l.backlog {
		l.overtaking++
		l.stayed++ // the backlog must shrink all the same
	} else {
		q.handedOver(l)
	}
	return j, nil
}

// stayed notes that deliveries for which there was no room are in the store, or will not be, and reports
// whether to claim at once rather than when there is room.
func (q *queue) stayed(lanes []*lane) (wake bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range lanes {
		l.storing--
		l.stayed++
		l.storedAt = q.claims
		wake = q.opens(l) || wake
	}
	return wake
}

func (q *queue) fits(l *lane, bytes int) bool {
	held, bytes := q.waiting+q.reserved, q.bytes+bytes
	if l.waiting() < l.quota(q.now()) {
		return held < q.room() && bytes <= maxHeldBytes
	}
	return l.waiting() < l.burst(q.now()) && held < q.room()/2 && bytes <= maxHeldBytes/2
}

// handed says when an endpoint was last given something fresh.
type handed struct {
	endpointID string
	at         time.Time
}

func (q *queue) handedOver(l *lane) {
	if q.fresh[0].endpointID != l.endpointID {
		q.fresh[0], q.fresh[1] = handed{endpointID: l.endpointID}, q.fresh[0]
	}
	q.fresh[0].at = q.now()
}

// contended reports whether endpoints without a backlog have had something fresh lately: then those with
// one, which are these and all that are known to have one, must leave them the store and the processors, too.
func (q *queue) isContended(backlog []string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.contended(backlog)
}

func (q *queue) contended(backlog []string) bool {
	for _, h := range q.fresh {
		if h.endpointID == "" || slices.Contains(backlog, h.endpointID) {
			continue
		}
		if l := q.lanes[h.endpointID]; (l == nil || !l.backlog) && q.now().Sub(h.at) < freshFor {
			return true
		}
	}
	return false
}

// room is how many jobs may wait.
func (q *queue) room() int { return heldPerWorker * q.slots }

// release gives up reservations whose deliveries were not stored.
func (q *queue) release(jobs []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		q.unreserve(j)
		q.leaves(j)
		q.tidy(j.lane)
	}
	q.noticeRoom()
	q.noticeQuiet()
}

func (q *queue) unreserve(j *job) {
	j.lane.reserved--
	q.reserved--
}

// admit turns reservations into jobs. While draining it returns them, to be handed back; they count as
// unsettled until then.
func (q *queue) admit(jobs []*job) (refused []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		q.unreserve(j)
		if q.draining {
			q.leaves(j)
			q.unsettled++
			refused = append(refused, j)
			continue
		}
		q.append(j)
	}
	q.hire(len(jobs))
	return refused
}

// hold keeps fresh deliveries out, or lets them in again.
func (q *queue) hold(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = on
}
