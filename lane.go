package webhook

import (
	"time"

	"golang.org/x/time/rate"
)

// lane is one endpoint's part of the queue.
type lane struct {
	endpointID string
	jobs       []*job
	inFlight   int
	reserved   int
	share      int           // attempts at once that it is entitled to
	ceiling    int           // attempts at once that it may grow to
	limit      int           // attempts at once at present
	starting   bool          // after a release: limit doubles with each success until it reaches share
	stored     bool          // the store has, or may have, due deliveries that are not here and no claim has met yet
	storing    int           // commits under way that will make it so
	storedAt   int           // the claims begun when one of those last ended
	lag        time.Duration // how long ago the oldest of the last claim was due
	lagOf      int           // the number of that claim
	spreadTo   time.Time     // when the last of those that are spread may begin
	overtaking int           // fresh deliveries that wait here though the store has a backlog
	stayed     int           // fresh deliveries since the last claim for backlogs that had no room, or overtook one
	backlog    bool          // the last claim for it left due deliveries in the store
	limiter    *rate.Limiter
	pace       float64       // attempts a second in all processes; 0: any
	paced      *time.Timer   // running while the limiter lets nothing through
	opening    *time.Timer   // running until the limiter makes room for what waits in the store
	needs      time.Duration // what must be left of a lease when an attempt begins

	ring       *ring
	prev, next *lane
}

// How much is held in memory. The rest stays in the store. A lane may always have its quota, as long as
// there is room at all; what lanes hold beyond it, for the sake of bursts, leaves half of the room free,
// so that endpoints which hang do not crowd out others.
const (
	heldPerWorker = 4
	maxHeldBytes  = 16 << 20
	quotaPerSlot  = 2  // jobs of a lane, for each attempt it may make at once
	burstPerSlot  = 16 // the same, while there is plenty of room

	// With a rate limit, what will be let through within this time, far less than a lease leaves.
	heldPace = 2 * time.Second
)

// While endpoints with fresh deliveries and others with backlogs share a process, claims for the latter
// are small and rare, and their attempts are spread over the time between. What a Send then meets of them
// is short and seldom: less would leave its p99 alone even better, more would show in it. But what is fresh and
// joins a backlog must not make it grow.
const (
	freshFor       = time.Second // after a fresh delivery, its endpoint counts as one that has them
	contendedClaim = 16
	claimShare     = 400 // one part in so many of the store's time, and of the processors', is for backlogs
	outpace        = 4   // and so many leave backlogs for each fresh delivery that had to be added to them
	maxClaimPause  = time.Second
	youngBacklog   = time.Second
	betweenClaims  = 5 * time.Millisecond   // for the others, in such a pause
	attemptCost    = 250 * time.Microsecond // of a processor's time, roughly, its part of claim and commit included, at such a pace
)

// configure takes over an endpoint's settings.
func (q *queue) configure(l *lane, k *known) {
	l.share, l.ceiling = q.perEndpoint, max(q.perEndpoint, q.slots/4)
	if n := k.endpoint.MaxInFlight; n > 0 {
		l.share, l.ceiling = min(n, q.slots), min(n, q.slots)
	}
	if k.endpoint.Ordered {
		l.share, l.ceiling = 1, 1
	}
	l.limit = min(l.limit, l.ceiling)
	l.needs = q.timeout + startMargin
	if k.endpoint.Timeout > 0 {
		l.needs = k.endpoint.Timeout + startMargin
	}
	l.pace = k.endpoint.RateLimit
	q.setPace(l)
}

// setPace gives a lane this process's share of its endpoint's rate limit. Waits that began under another
// are over.
func (q *queue) setPace(l *lane) {
	l.stopTimers()
	switch limit := rate.Limit(l.pace / float64(q.peers)); {
	case limit == 0:
		l.limiter = nil
	case l.limiter == nil:
		l.limiter = rate.NewLimiter(limit, 1)
	default:
		l.limiter.SetLimitAt(q.now(), limit)
	}
}

func (l *lane) stopTimers() {
	if l.paced != nil {
		l.paced.Stop()
	}
	if l.opening != nil {
		l.opening.Stop()
	}
	l.paced, l.opening = nil, nil
}

// capacity is what an attempt says about how much an endpoint can take.
type capacity uint8

const (
	unknownCapacity capacity = iota
	moreCapacity
	lessCapacity
)

func (l *lane) adapt(c capacity) {
	switch {
	case c == lessCapacity:
		l.limit, l.starting = max(1, l.limit/2), false
	case c != moreCapacity:
	case l.starting:
		l.limit = min(2*l.limit, l.share)
		l.starting = l.limit < l.share
	case l.limit < l.share || l.inFlight >= l.limit:
		l.limit = min(l.limit+1, l.ceiling)
	}
}

func (l *lane) held() int { return len(l.jobs) + l.reserved + l.inFlight }

// overtakable reports that something fresh need not join the backlog in the store. Were all to join, several processes
// that send much to an endpoint would keep each other's backlog alive, and claim what they could have handed over. So
// a young backlog is overtaken by what there is room for. One that is getting old is overtaken by as many as wait here
// of it, or by one for each attempt at once: where there is too much for an endpoint, either has its half, since claims
// count without those. What a rate limit lets through goes to the backlog, and nothing waits behind what is spread.
func (l *lane) overtakable(now time.Time) bool {
	if l.limiter != nil || l.starting || l.spreadTo.After(now) {
		return false
	}
	return l.lag < youngBacklog || l.overtaking < max(l.limit, l.waiting()-l.overtaking)
}

// aged notes how long ago a delivery was due that a claim has brought.
func (l *lane) aged(lag time.Duration, claim int) {
	if l.lagOf != claim {
		l.lagOf, l.lag = claim, 0
	}
	l.lag = max(l.lag, lag)
}

// waiting is how many have not begun yet.
func (l *lane) waiting() int { return len(l.jobs) + l.reserved }

// burst is how many deliveries of an endpoint may wait here while there is plenty of room: then few of them
// need a claim. One that is slow to answer, or has a rate limit, has its quota.
func (l *lane) burst(now time.Time) int {
	if l.limiter != nil || l.starting || l.limit < l.share {
		return l.quota(now)
	}
	return burstPerSlot * l.limit
}

// quota is how many deliveries of an endpoint are worth having wait here: enough that slots need not wait
// for the store, and with a rate limit no more than will go out soon.
func (l *lane) quota(now time.Time) int {
	n := quotaPerSlot * l.limit
	if l.limiter != nil {
		n = min(n, int(l.limiter.TokensAt(now)+heldPace.Seconds()*float64(l.limiter.Limit())))
	}
	return n
}

// room is how many more deliveries are worth claiming.
func (l *lane) room(now time.Time) int {
	return min(quotaPerSlot*l.limit-l.held(), l.quota(now)-l.waiting()) + l.overtaking
}

// hasRoom reports that half of what is worth holding is gone.
func (l *lane) hasRoom(now time.Time) bool {
	most := quotaPerSlot * l.limit
	if l.limiter != nil {
		most = min(most, 1+int(heldPace.Seconds()*float64(l.limiter.Limit())))
	}
	room := l.room(now)
	return room > 0 && 2*room >= most
}

// wait is how long the rate limit keeps the nth attempt from now on.
func (l *lane) wait(now time.Time, n int) time.Duration {
	if l.limiter == nil {
		return 0
	}
	missing := float64(n) - l.limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	seconds := missing / float64(l.limiter.Limit())
	return time.Duration(min(seconds*float64(time.Second), float64(maxRetryWait)))
}

// outlasts reports that a claim's lease ends too soon for an attempt that begins after a wait.
func (l *lane) outlasts(c *Claim, now time.Time, wait time.Duration) bool {
	return c.LeaseUntil.Sub(now)-wait < l.needs
}

// ring is a round of lanes. A lane is in one ring at most.
type ring struct{ head *lane }

func (r *ring) push(l *lane) {
	l.ring = r
	if r.head == nil {
		r.head, l.prev, l.next = l, l, l
		return
	}
	l.prev, l.next = r.head.prev, r.head
	l.prev.next, l.next.prev = l, l
}

func (r *ring) pop() *lane {
	l := r.head
	if l != nil {
		r.remove(l)
	}
	return l
}

func (r *ring) remove(l *lane) {
	if l.next == l {
		r.head = nil
	} else {
		l.prev.next, l.next.prev = l.next, l.prev
		if r.head == l {
			r.head = l.next
		}
	}
	l.ring, l.prev, l.next = nil, nil, nil
}
