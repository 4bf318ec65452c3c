package webhook

import (
	"context"
	"math/rand/v2"
	"time"
)

// ClockStore is a [Store] with a clock that all processes share. The dispatcher goes by it, so that hosts
// whose clocks differ neither overlap nor starve.
type ClockStore interface {
	Store
	// Now reads that clock.
	Now(ctx context.Context) (time.Time, error)
}

// ListenStore is a [Store] that can tell of other processes' work, so that it need not be found by
// polling.
type ListenStore interface {
	Store
	// Listen calls wake whenever another process may have made something claimable or changed an endpoint,
	// and once when it has begun. It returns when ctx ends, or when it can hear no more; it is called again
	// then. It may call wake too often.
	Listen(ctx context.Context, wake func()) error
}

// PeerStore is a [Store] that counts the processes that deliver, so that they can share the rate limits
// of endpoints.
type PeerStore interface {
	Store
	// Peers notes that owner delivers at now, and returns how many do, this one included. Who has not called
	// for three seconds does not count any more.
	Peers(ctx context.Context, now time.Time, owner string) (int, error)
	// Leave ends what Peers began.
	Leave(ctx context.Context, owner string) error
}

const (
	clockEvery  = time.Minute // how often a shared clock is asked
	clockNoise  = 5 * time.Millisecond
	clockSlow   = 250 * time.Millisecond // an answer that took longer says little
	peersEvery  = time.Second
	listenAgain = 10 * time.Second // longest pause before listening again
)

// askTime sets the dispatcher's clock by the store's, if that has one that all processes share. It asks
// once; Run asks again every minute, and when this machine slept or its clock was set. A store bound to a
// transaction is asked through that.
func (d *Dispatcher) askTime(ctx context.Context, store Store) error {
	if d.clock.asked.Load() != 0 {
		return nil
	}
	return d.askTimeNow(ctx, store)
}

func (d *Dispatcher) askTimeNow(ctx context.Context, store Store) error {
	s, ok := store.(ClockStore)
	if !ok {
		return nil
	}
	for try := 1; ; try++ {
		began := d.clock.mono()
		shared, err := s.Now(ctx)
		if err != nil {
			return err
		}
		if took := d.clock.mono() - began; took < clockSlow || try == 3 {
			d.clock.follow(shared.Add(took / 2))
			return nil
		}
	}
}

// askTimeAgain keeps the clock right while Run runs.
func (r *run) askTimeAgain(ctx context.Context) error {
	c := r.d.clock
	if last := time.Duration(c.asked.Load()); last == 0 || c.mono()-last >= clockEvery || c.behind() > 0 {
		return r.d.askTimeNow(ctx, r.d.store)
	}
	return nil
}

// listen lets other processes wake this one, for as long as ctx lives.
func (r *run) listen(ctx context.Context, s ListenStore) {
	pause := time.Duration(0)
	for {
		began := time.Now()
		err := s.Listen(ctx, r.poke)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > listenAgain {
			pause = 0
		}
		pause = min(max(100*time.Millisecond, 2*pause), listenAgain)
		r.d.log.Warn("webhook: cannot hear of other processes' work; polling for it meanwhile", "error", err, "again in", pause)
		if !sleep(ctx, pause/2+rand.N(pause/2), nil) {
			return
		}
	}
}

// sharePace divides the rate limits of endpoints among the processes that deliver, if any endpoint has one.
func (r *run) sharePace(ctx context.Context, s PeerStore) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWrites)
		defer cancel()
		_ = s.Leave(ctx, r.d.owner) // else the others count it for three more seconds
	}()
	for first := true; ; first = false {
		if first || r.d.directory.paced.Load() {
			if n, err := s.Peers(ctx, r.d.now(), r.d.owner); err == nil {
				r.queue.share(n)
			}
		}
		if !sleep(ctx, peersEvery, nil) {
			return
		}
	}
}
