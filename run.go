package webhook

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/id"
)

// run is one call of Run or RunOnce.
type run struct {
	d     *Dispatcher
	once  bool // end when nothing is due
	queue *queue
	wake  chan struct{} // look for due deliveries; holds one
	room  chan struct{} // there may be room for more claims; holds one

	attempts context.Context // of the requests; its end interrupts them
	cut      context.CancelCauseFunc
	workers  sync.WaitGroup
	chores   sync.WaitGroup

	prune chan struct{} // prune now; holds one
	bulk  chan struct{} // look for bulk retries now; holds one

	bulksDone atomic.Bool // RunOnce has led all bulk retries to their ends

	freedAt time.Time // the loop's: when dead owners were last looked for
	paused  time.Time // the loop's: until when it claims nothing for backlogs
	looked  time.Time // the loop's: when it last claimed
	shut    bool      // the loop's: only rate limits keep what is due, and nothing is held

	mu    sync.Mutex
	next  time.Time // when the loop looks by itself; zero: it is looking
	early time.Time // the first that became due while it looked
	ended bool      // no further chore may begin
}

var errShutdown = errors.New("webhook: shutting down")

// Run delivers until ctx ends. Then it starts no further attempt, lets those under way finish for
// Config.DrainTimeout, interrupts the rest, hands back what was not tried, writes all results and
// returns nil. Send goes on working afterwards; what it stores waits for the next Run. ErrRunning means
// that this dispatcher is running already. Several processes may Run over one store.
//
// Faults of the store do not end Run: it waits and goes on, see Health.
func (d *Dispatcher) Run(ctx context.Context) error { return d.run(ctx, false) }

// RunOnce delivers what is due, waits for the results and returns: for cron jobs and command lines. What
// becomes due in the meantime is delivered too, and bulk retries are led to their ends. If ctx ends first, it ends as Run does, with ctx's error.
func (d *Dispatcher) RunOnce(ctx context.Context) error { return d.run(ctx, true) }

func (d *Dispatcher) run(ctx context.Context, once bool) error {
	if !d.starting.TryLock() {
		return ErrRunning
	}
	defer d.starting.Unlock()
	r := d.newRun(once)
	if !once {
		d.logWarnings(ctx)
	}
	d.current.Store(r)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.chores.Go(func() { r.janitor(ctx) })
	r.chores.Go(func() { r.tend(ctx) })
	r.chores.Go(func() { r.bulkRetries(ctx) })
	r.chores.Go(func() { r.tellers(ctx) })
	if s, ok := d.store.(ListenStore); ok && !once {
		r.chores.Go(func() { r.listen(ctx, s) })
	}
	if s, ok := d.store.(PeerStore); ok {
		r.chores.Go(func() { r.sharePace(ctx, s) })
	}
	told := d.operational.storedSoFar()
	err := r.loop(ctx)
	for once && err == nil {
		d.tellOfResults(ctx)
		now := d.operational.storedSoFar()
		if now == told {
			break
		}
		told = now // and the loop may have looked before that was stored, by the tellers or just now
		err = r.loop(ctx)
	}
	cancel()
	r.drain()
	d.tellOfResults(context.WithoutCancel(ctx))
	d.current.Store(nil)
	if once {
		return err
	}
	return nil
}

func (d *Dispatcher) newRun(once bool) *run {
	r := &run{d: d, once: once, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), prune: make(chan struct{}, 1),
		bulk: make(chan struct{}, 1)}
	r.attempts, r.cut = context.WithCancelCause(context.Background())
	r.queue = newQueue(&d.cfg, d.now, d.probes.failing, func() { signal(r.room) }, func() { r.workers.Go(r.work) })
	return r
}

// poke makes the loop look now.
func (r *run) poke() { signal(r.wake) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dueAt makes the loop look at t, if it did not mean to look before.
func (r *run) dueAt(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next.IsZero() {
		r.early = soonest(r.early, t)
	} else if t.Before(r.next) {
		r.poke()
	}
}

// looking notes that the loop is about to ask the store: what becomes due from now on it may miss.
func (r *run) looking() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next, r.early = time.Time{}, time.Time{}
}

// rest says how long to wait, given what became due while the loop looked.
func (r *run) rest(wait time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.d.now()
	r.next = soonest(now.Add(wait), r.early)
	return r.next.Sub(now)
}

// soonest ignores zero times.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// loop claims what is due until ctx ends, or, once, until nothing is due.
func (r *run) loop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		r.looking()
		wait, done := r.look(ctx)
		if ctx.Err() != nil || done {
			return ctx.Err()
		}
		timer.Reset(r.rest(wait))
		room := r.room
		if r.inPause() {
			room = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-r.wake:
		case <-room:
		case <-r.quiet():
		}
	}
}

// quiet lets RunOnce look again as soon as all that it had is done.
func (r *run) quiet() <-chan struct{} {
	if !r.once || r.shut || !r.bulksDone.Load() {
		return nil
	}
	return r.queue.whenQuiet()
}

// look claims once and says how long to wait before the next time. It claims nothing while results
// cannot be written: what the store has lost sight of must not be sent again and again.
func (r *run) look(ctx context.Context) (wait time.Duration, done bool) {
	d := r.d
	paused := r.inPause()
	if wait := d.storePause(); wait > 0 {
		return wait, false
	} else if wait := betweenClaims - time.Since(r.looked); paused && wait > 0 {
		return wait, false
	}
	r.looked = time.Now()
	if err := r.askTimeAgain(ctx); err != nil {
		return r.storeFault(ctx, err), false
	}
	wasQuiet := r.queue.isQuiet()
	if gap := d.clock.behind(); gap > 0 && !r.follow(gap, wasQuiet) {
		return 100 * time.Millisecond, false
	}
	if err := r.freeLeases(ctx); err != nil {
		return r.storeFault(ctx, err), false
	}
	wasQuiet = wasQuiet && (!r.once || r.bulksDone.Load())
	want := r.queue.wants(paused)
	r.shut = wasQuiet && len(want.exclude) > 0
	if want.limit <= 0 {
		// There is no room for claims, which tell of changed endpoints otherwise.
		if err := d.directory.refresh(ctx, d.store); err != nil {
			return r.storeFault(ctx, err), false
		}
		return d.cfg.PollInterval, false
	}
	r.queue.setClaiming(true)
	defer r.queue.setClaiming(false)
	now := d.now()
	var early map[string]int
	if !r.once {
		early = d.probes.wanted(now, want.exclude)
	}
	res, err := d.store.Claim(ctx, ClaimRequest{
		Now: now, LeaseUntil: d.leaseFrom(now),
		Limit: want.limit, PerEndpoint: quotaPerSlot * d.cfg.PerEndpoint, Caps: want.caps, Exclude: want.exclude, Early: early,
		Owner: d.owner, NewAttemptID: func() string { return d.newID(id.Attempt) },
	})
	var deferred []string
	if err == nil {
		deferred, err = r.accept(ctx, res, r.pause(&want, &res, paused))
	}
	if err != nil {
		return r.storeFault(ctx, err), false
	}
	d.storeWorks()
	drained := res.NextDue.IsZero() || res.NextDue.After(now)
	released := d.probes.got(early, res.Claims, now)
	select {
	case <-r.room: // what this claim brought has filled it
	default:
	}
	r.queue.claimed(want, res.Claims, drained, slices.Concat(res.Backlog, released, deferred))
	switch {
	case !drained && len(res.Claims) > 0, len(released) > 0:
		return 0, false
	case !drained:
		return 10 * time.Millisecond, false
	}
	wait = d.cfg.PollInterval
	if !res.NextDue.IsZero() {
		wait = min(wait, max(0, res.NextDue.Sub(d.now())))
	}
	if r.inPause() {
		wait = min(wait, time.Until(r.paused))
	}
	return wait, r.once && wasQuiet && drained && len(res.Claims) == 0 && len(want.exclude) == 0
}

// storeFault notes a fault, unless it is only that ctx ended, and says how long to wait.
func (r *run) storeFault(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	return r.d.storeFails(err)
}

// follow adopts the wall clock's jump ahead once this process holds nothing: by the new time its leases
// would look run out. Until then it takes nothing on.
func (r *run) follow(gap time.Duration, quiet bool) bool {
	r.queue.hold(!quiet)
	if !quiet {
		return false
	}
	r.d.log.Warn("webhook: the wall clock jumped ahead, or the machine slept; following it", "by", gap)
	r.d.clock.adopt(gap)
	return true
}

// freeLeases takes over from processes that the store knows to be dead, once in a poll interval.
func (r *run) freeLeases(ctx context.Context) error {
	s, ok := r.d.store.(OwnerStore)
	now := r.d.now()
	if !ok || now.Before(r.freedAt.Add(r.d.cfg.PollInterval)) {
		return nil
	}
	r.freedAt = now
	n, err := s.FreeLeases(ctx, now)
	if n > 0 {
		r.d.log.Info("webhook: took over the deliveries of a process that died", "deliveries", n)
	}
	return err
}

// pause says how long to leave the store and the processors to endpoints that get fresh deliveries, after
// a claim for backlogs. Until then only endpoints without a backlog are claimed for: their retries wait for
// nobody else's.
func (r *run) pause(want *wanted, res *ClaimResult, paused bool) time.Duration {
	if paused || r.once || len(res.Claims) == 0 || len(res.Backlog) == 0 || !r.queue.isContended(res.Backlog) {
		return 0
	}
	took := time.Since(r.looked)
	// An attempt's computing is not measured, but estimated.
	attempts := time.Duration(len(res.Claims)) * attemptCost / time.Duration(runtime.GOMAXPROCS(0))
	pause := min(claimShare*max(took, attempts), maxClaimPause)
	if want.stayed > 0 {
		pause = min(pause, want.over*time.Duration(len(res.Claims))/time.Duration(outpace*want.stayed))
	}
	r.paused = time.Now().Add(pause)
	return pause
}

func (r *run) inPause() bool { return time.Now().Before(r.paused) }

// accept takes claims into the queue, and spreads those of backlogs over a pause. What cannot be taken is
// handed back; of deferred endpoints, since their rate limits let nothing through for long.
func (r *run) accept(ctx context.Context, res ClaimResult, pause time.Duration) (deferred []string, err error) {
	err = r.d.directory.catchUp(ctx, res.Generation)
	for i := range res.Interrupted {
		r.d.observe(Notice{Kind: NoticeInterrupted, Attempt: &res.Interrupted[i]})
	}
	now := r.d.now()
	for i, c := range res.Claims {
		k := r.d.directory.get(c.EndpointID)
		if k == nil || err != nil {
			r.queue.adopt()
			r.d.commits.Add(&commit{run: r, back: &job{claim: c}}, batch.Soon)
			continue
		}
		from := time.Time{}
		if pause > 0 && slices.Contains(res.Backlog, c.EndpointID) {
			from = now.Add(pause * time.Duration(i) / time.Duration(len(res.Claims)))
		}
		if !r.queue.push(k, c, from) {
			deferred = append(deferred, c.EndpointID)
			r.report(&job{claim: c, deferred: true}, k, putOff(&c))
		}
	}
	return deferred, err
}

// putOff hands a claim back, due when it was, as one that had to wait without a request.
func putOff(c *Claim) Outcome {
	return Outcome{State: StateScheduled, NextAt: c.DueAt, Failed: c.Failed, Uncharged: c.Uncharged}
}

// stopEndpoint hands back what waits for an endpoint in this process.
func (d *Dispatcher) stopEndpoint(endpointID string) {
	if r := d.current.Load(); r != nil {
		r.handBack(r.queue.drain(endpointID))
	}
}

func (r *run) handBack(jobs []*job) {
	for _, j := range jobs {
		r.d.commits.Add(&commit{run: r, back: j}, batch.Soon)
	}
	r.d.commits.Kick()
}

// drain ends the run: nothing new is begun, what is under way may finish, and what came of it is written.
func (r *run) drain() {
	r.handBack(r.queue.drain(""))
	timer := time.NewTimer(r.d.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-r.queue.whenQuiet():
	case <-timer.C:
	}
	r.cut(errShutdown)
	r.queue.close()
	r.workers.Wait()
	r.d.commits.Kick()
	timer.Reset(lastWrites)
	select {
	case <-r.queue.whenQuiet():
	case <-timer.C:
		lost := r.d.commits.Take()
		r.d.log.Error("webhook: the store did not take the last results; those deliveries will be repeated", "results", len(lost))
		for _, c := range lost {
			if c.owed {
				r.d.owe(-1)
			}
			if c.group != nil {
				r.d.refuse(c, ErrClosed)
			}
		}
	}
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.chores.Wait()
}

// lastWrites is how long the last results may take to be written.
const lastWrites = 5 * time.Second

// background does what a commit asks for and must not wait for.
func (r *run) background(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		r.chores.Go(f)
	}
}

const idlePoll = 200 * time.Millisecond

// Idle waits until nothing is due or in flight as far as this process can see: what it has, and what
// the store has unleased. Retries that are due later do not count, nor do deliveries that are held. It
// needs Run to be running, or it waits for ctx to end if something is due.
func (d *Dispatcher) Idle(ctx context.Context) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, idlePoll) { // a rate limit may keep it long
		if r := d.current.Load(); r != nil {
			select {
			case <-r.queue.whenQuiet():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		now := d.now()
		res, err := d.store.Claim(ctx, ClaimRequest{Now: now})
		if err != nil {
			return err
		}
		if r := d.current.Load(); res.NextDue.IsZero() || res.NextDue.After(now) {
			if r == nil || r.queue.isQuiet() {
				return nil
			}
			continue
		}
		d.Wake()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
