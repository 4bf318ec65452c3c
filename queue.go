package webhook

import (
	"slices"
	"sync"
	"time"
)

// job is a claimed delivery in this process's memory.
type job struct {
	claim    Claim
	bytes    int
	lane     *lane
	deferred bool      // it had to wait for the rate limit
	late     bool      // its lease does not last until the rate limit lets it through
	from     time.Time // it leaves the processors to others until then

	overtakes bool // it is fresh, and its lane had a backlog in the store
}

// queue shares the slots for attempts fairly among endpoints. Each endpoint has a lane; lanes that may
// begin an attempt stand in one of two rings, and slots go round the first ring before the second:
//
//   - under: lanes with fewer attempts under way than their share;
//   - over: lanes beyond their share, which take only slots that nobody under theirs wants.
//
// So an endpoint that hangs holds its share of slots and no more, and an idle machine serves one
// endpoint with many. A lane's limit adapts: it halves with each timeout, down to one, and grows with
// successes, up to its ceiling.
//
// All fields are guarded by mu.
type queue struct {
	slots       int                          // attempts at once
	perEndpoint int                          // share of a lane
	timeout     time.Duration                // of an attempt, where the endpoint has none of its own
	peers       int                          // processes that deliver, this one included; guarded by mu
	hasRoom     func()                       // told, with mu held, when claiming may be worth while again
	spawn       func()                       // starts a worker
	failing     func(endpointID string) bool // knows those that do nothing but fail
	now         func() time.Time

	mu          sync.Mutex
	work        sync.Cond // idle workers wait here
	lanes       map[string]*lane
	under, over ring
	waiting     int           // jobs in lanes
	bytes       int           // their payloads
	reserved    int           // jobs about to come, whose commit is under way
	inFlight    int           // jobs with workers
	unsettled   int           // jobs whose result is not committed yet
	claiming    bool          // what a Claim found may not be here yet
	more        bool          // the store had more due when it was last asked
	claims      int           // begun so far
	stayedSince time.Time     // the last claim for backlogs
	settled     chan struct{} // closed when nothing of the above is left; nil if nobody waits
	workers     int
	idle        int
	fresh       [2]handed // the last two endpoints that fresh deliveries were handed over for, the later first
	held        bool      // nothing fresh is taken in for a while
	draining    bool
	closed      bool
}

func newQueue(cfg *Config, now func() time.Time, failing func(endpointID string) bool, hasRoom, spawn func()) *queue {
	q := &queue{
		slots: cfg.Workers, perEndpoint: min(cfg.PerEndpoint, cfg.Workers), peers: 1,
		timeout: cfg.AttemptTimeout, now: now, failing: failing, hasRoom: hasRoom, spawn: spawn, lanes: map[string]*lane{},
	}
	q.work.L = &q.mu
	return q
}

// lane returns the lane of an endpoint, made if there is none. One that does nothing but fail begins with one
// attempt: if it hangs, a restart does not fill its whole share with timeouts.
func (q *queue) lane(k *known) *lane {
	l := q.lanes[k.row.ID]
	if l == nil {
		l = &lane{endpointID: k.row.ID}
		q.configure(l, k)
		l.limit = l.share
		if q.failing(l.endpointID) {
			l.limit, l.starting = 1, l.share > 1
		}
		q.lanes[l.endpointID] = l
	}
	return l
}

// changed takes over an endpoint's new settings. After a release it begins with one attempt.
func (q *queue) changed(k *known, released bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.lanes[k.row.ID]; l != nil || released {
		l = q.lane(k)
		q.configure(l, k)
		if released {
			l.limit, l.starting, l.stored, l.backlog = 1, l.share > 1, true, true
		}
		q.place(l)
		q.hire(1)
		q.noticeRoomIn(l)
	}
}

// share divides rate limits by the number of processes that deliver.
func (q *queue) share(peers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if peers = max(1, peers); peers == q.peers {
		return
	}
	q.peers = peers
	for _, l := range q.lanes {
		if l.limiter != nil {
			q.setPace(l)
			q.place(l)
			q.noticeRoomIn(l)
		}
	}
	q.hire(q.waiting)
}

// push adds a claim from the store, unless the rate limit keeps it longer than its lease lasts: then it
// only counts as one to be handed back.
func (q *queue) push(k *known, c Claim, from time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	j := &job{claim: c, bytes: len(c.Event.Payload), lane: q.lane(k), from: from}
	now := q.now()
	j.lane.aged(now.Sub(c.DueAt), q.claims)
	if from.After(j.lane.spreadTo) {
		j.lane.spreadTo = from
	}
	if j.lane.limiter != nil && j.lane.outlasts(&c, now, j.lane.wait(now, j.lane.waiting()+1)) {
		q.unsettled++
		return false
	}
	q.bytes += j.bytes
	q.append(j)
	q.hire(1)
	return true
}

func (q *queue) append(j *job) {
	j.lane.jobs = append(j.lane.jobs, j)
	q.waiting++
	q.place(j.lane)
}

// leaves takes a job off the accounts of what waits, but for the count.
func (q *queue) leaves(j *job) {
	q.bytes -= j.bytes
	if j.overtakes {
		j.lane.overtaking--
	}
}

// hire finds workers for n more jobs.
func (q *queue) hire(n int) {
	free := q.slots - q.inFlight - q.unsettled
	for range min(n, free) {
		if q.idle > 0 {
			q.idle--
			q.work.Signal()
		} else if q.workers < q.slots {
			q.workers++
			q.spawn()
		}
	}
}

// take waits for a job that may begin now. It returns nil once the queue is closed.
func (q *queue) take() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed {
		if q.inFlight+q.unsettled < q.slots {
			if j := q.pick(); j != nil {
				return j
			}
		}
		q.idle++
		q.work.Wait()
	}
	q.workers--
	return nil
}

func (q *queue) pick() *job {
	for {
		l := q.under.pop()
		if l == nil {
			l = q.over.pop()
		}
		if l == nil {
			return nil
		}
		j := l.jobs[0]
		if q.spread(l, j) {
			continue
		}
		if q.pace(l, j) {
			continue
		}
		l.jobs[0] = nil
		l.jobs = l.jobs[1:]
		l.inFlight++
		q.waiting--
		q.leaves(j)
		q.inFlight++
		q.place(l)
		q.noticeRoomIn(l)
		return j
	}
}

// pace sets a lane aside while its rate limit lets nothing through. A job whose lease does not last until
// then is let go, to be handed back.
func (q *queue) pace(l *lane, j *job) bool {
	if l.limiter == nil {
		return false
	}
	now := q.now()
	j.late = l.outlasts(&j.claim, now, 0)
	if j.late || l.limiter.AllowN(now, 1) {
		return false
	}
	j.deferred = true
	wait := l.wait(now, 1)
	if j.late = l.outlasts(&j.claim, now, wait); j.late {
		l.backlog = true
		return false
	}
	q.setAside(l, max(wait, time.Microsecond))
	return true
}

// spread sets a lane aside until its next job's time.
func (q *queue) spread(l *lane, j *job) bool {
	if j.from.IsZero() {
		return false
	}
	wait := j.from.Sub(q.now())
	if wait > 0 {
		q.setAside(l, wait)
	}
	return wait > 0
}

func (q *queue) setAside(l *lane, wait time.Duration) {
	l.paced = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		l.paced = nil
		q.place(l)
		q.hire(1)
	})
}

// place puts a lane into the ring where it belongs now.
func (q *queue) place(l *lane) {
	var want *ring
	switch {
	case len(l.jobs) == 0 || l.inFlight >= l.limit || l.paced != nil:
	case l.inFlight < l.share:
		want = &q.under
	default:
		want = &q.over
	}
	if l.ring == want {
		return
	}
	if l.ring != nil {
		l.ring.remove(l)
	}
	if want != nil {
		want.push(l)
	}
}

// finish gives a worker's slot back, up to the commit of its result.
func (q *queue) finish(j *job, c capacity) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := j.lane
	before := l.limit
	l.adapt(c)
	l.inFlight--
	q.inFlight--
	q.unsettled++
	q.place(l)
	if l.limit > before && l.ring != nil {
		q.hire(1) // this worker takes one job, and there is room for another
	}
	q.noticeRoomIn(l)
	q.tidy(l)
}

// settle frees the slots of jobs whose results are committed.
func (q *queue) settle(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsettled -= n
	q.hire(min(n, q.waiting))
	q.noticeRoom()
	q.noticeQuiet()
}

// drain returns the jobs that wait, of one lane or, for good, of all, so that they can be handed back.
// They count as unsettled until then.
func (q *queue) drain(endpointID string) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var jobs []*job
	take := func(l *lane) {
		for _, j := range l.jobs {
			q.leaves(j)
		}
		jobs = append(jobs, l.jobs...)
		l.jobs = nil
		q.place(l)
		q.tidy(l)
	}
	if endpointID == "" {
		q.draining = true
		for _, l := range q.lanes {
			take(l)
		}
	} else if l := q.lanes[endpointID]; l != nil {
		take(l)
	}
	q.waiting -= len(jobs)
	q.unsettled += len(jobs)
	return jobs
}

// discard is drain for the jobs that drop chooses, wherever they wait.
func (q *queue) discard(drop func(*Claim) bool) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	var jobs []*job
	for _, l := range q.lanes {
		l.jobs = slices.DeleteFunc(l.jobs, func(j *job) bool {
			yes := drop(&j.claim)
			if yes {
				q.leaves(j)
				jobs = append(jobs, j)
			}
			return yes
		})
		q.place(l)
		q.tidy(l)
	}
	q.waiting -= len(jobs)
	q.unsettled += len(jobs)
	return jobs
}

// close lets the workers go home.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, l := range q.lanes {
		l.stopTimers()
	}
	q.work.Broadcast()
}

// tidy forgets a lane that has nothing to remember.
func (q *queue) tidy(l *lane) {
	if l.held() == 0 && !l.stored && l.storing == 0 && !l.backlog && (!l.starting && l.limit >= l.share || q.failing(l.endpointID)) &&
		(l.limiter == nil || l.limiter.TokensAt(q.now()) >= 1) && q.lanes[l.endpointID] == l {
		delete(q.lanes, l.endpointID)
	}
}

func (q *queue) nothingHeld() bool {
	return q.waiting+q.reserved+q.inFlight+q.unsettled == 0 && !q.claiming
}

func (q *queue) noticeQuiet() {
	if q.settled != nil && q.nothingHeld() {
		close(q.settled)
		q.settled = nil
	}
}

// setClaiming brackets a Claim and the acceptance of what it found.
func (q *queue) setClaiming(claiming bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.claiming = claiming
	q.noticeQuiet()
}

// isQuiet reports whether this process holds no delivery and no result.
func (q *queue) isQuiet() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nothingHeld()
}

// adopt counts a claim that is handed back without having waited here.
func (q *queue) adopt() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unsettled++
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// whenQuiet returns a channel that is closed once this process holds no delivery and no result.
func (q *queue) whenQuiet() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.nothingHeld() {
		return closedChannel
	}
	if q.settled == nil {
		q.settled = make(chan struct{})
	}
	return q.settled
}

// load says how much there is in this process.
func (q *queue) load() (waiting, inFlight int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting + q.reserved, q.inFlight
}
