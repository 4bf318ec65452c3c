package webhook

import "time"

// wanted is what a claim should ask for.
type wanted struct {
	limit   int // 0: nothing
	caps    map[string]int
	exclude []string
	number  int // of the claim
	// How many fresh deliveries of the endpoints claimed for had no room since the last claim for backlogs, or
	// overtook one, and how long that is.
	stayed int
	over   time.Duration
}

// wants begins a claim. An endpoint that has something in the store and no room for it here has a backlog from
// then on.
func (q *queue) wants(paused bool) (w wanted) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claims++
	w.number = q.claims
	limit, contended := min(2*q.slots, q.room()-q.waiting-q.reserved), q.contended(nil)
	if q.draining || limit <= 0 || q.bytes >= maxHeldBytes {
		q.more = true
		return w
	}
	w.limit = limit
	w.caps = make(map[string]int, len(q.lanes))
	now := q.now()
	for id, l := range q.lanes {
		room := l.room(now)
		if !contended && q.bytes < maxHeldBytes/2 {
			room = max(room, min(l.burst(now)-l.held(), q.room()/2-q.waiting-q.reserved))
		}
		if !l.backlog && !l.stored && l.held() == 0 {
			room = max(room, 1) // whatever its rate limit: perhaps there is nothing, and RunOnce may end
		}
		if room > 0 && !(paused && l.backlog) {
			w.caps[id] = room
			w.stayed += l.stayed
		} else {
			l.backlog = l.backlog || l.stored
			w.exclude = append(w.exclude, id)
		}
		if !paused {
			l.stayed = 0
		}
	}
	if !paused {
		w.over, q.stayedSince = now.Sub(q.stayedSince), now
		if contended {
			w.limit = min(limit, max(contendedClaim, outpace*w.stayed))
		}
	}
	return w
}

// claimed takes in what a claim said about backlogs.
func (q *queue) claimed(w wanted, claims []Claim, drained bool, backlog []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more = !drained
	left := make(map[string]bool, len(backlog))
	for _, id := range backlog {
		left[id] = true
		if l := q.lanes[id]; l != nil {
			l.backlog = true
			q.noticeRoomIn(l)
		}
	}
	if drained {
		for id := range w.caps {
			q.caughtUp(id, left, w.number)
		}
	} else {
		for i := range claims {
			q.caughtUp(claims[i].EndpointID, left, w.number)
		}
	}
	q.noticeRoom()
}

// caughtUp notes that a claim found nothing more of an endpoint in the store.
func (q *queue) caughtUp(endpointID string, left map[string]bool, claim int) {
	l := q.lanes[endpointID]
	if l == nil || left[endpointID] {
		return
	}
	l.backlog = false
	if l.storing == 0 && l.storedAt < claim {
		l.stored = false
	}
	q.tidy(l)
}

// noticeRoom asks for claims when there is more in the store and half of what may be held is gone.
func (q *queue) noticeRoom() {
	if q.more && q.room()-q.waiting-q.reserved >= q.slots/2 {
		q.hasRoom()
	}
}

func (q *queue) noticeRoomIn(l *lane) {
	if (l.backlog || l.stored && l.storing == 0) && q.opens(l) {
		q.hasRoom()
	}
}

// opens reports whether there is room in a lane. If it is the rate limit that leaves none, it sees to it
// that this is noticed in time.
func (q *queue) opens(l *lane) bool {
	now := q.now()
	if l.hasRoom(now) {
		return true
	}
	if l.quota(now) == 0 && l.opening == nil && l.waiting() == 0 && !q.closed {
		wait := max(l.wait(now, 1)-heldPace, time.Millisecond)
		l.opening = time.AfterFunc(wait, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			l.opening = nil
			q.noticeRoomIn(l)
		})
	}
	return false
}
