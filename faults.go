package webhook

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// storeFaults is what the dispatcher remembers of a store that fails.
type storeFaults struct {
	mu      sync.Mutex
	err     error // of the last call; nil: it works
	since   time.Time
	until   time.Time // when to try again
	backoff *backoff.ExponentialBackOff
	owed    int // results that were to be written and are not
}

// storeFails notes a fault and says how long to wait. It logs once for each change of state.
func (d *Dispatcher) storeFails(err error) time.Duration {
	f := &d.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.since = d.now()
		f.backoff = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(3*time.Second),
			backoff.WithMaxElapsedTime(0))
		d.log.Error("webhook: the store fails; deliveries wait", "error", err)
		defer d.observe(Notice{Kind: NoticeStoreFailing, Err: err})
	}
	f.err = err
	wait := f.backoff.NextBackOff()
	f.until = d.now().Add(wait)
	return wait
}

func (d *Dispatcher) storeWorks() {
	f := &d.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		f.err = nil
		d.log.Info("webhook: the store works again", "after", d.now().Sub(f.since))
		defer d.observe(Notice{Kind: NoticeStoreRecovered})
	}
}

// storePause is how long not to claim from a store that fails, or that has not got all results.
func (d *Dispatcher) storePause() time.Duration {
	f := &d.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.owed > 0:
		// Leases may have run out over them: a claim would repeat what was done. They wake the loop.
		return max(d.cfg.PollInterval, f.until.Sub(d.now()))
	case f.err == nil:
		return 0
	}
	return f.until.Sub(d.now())
}

// owe adds to what is owed to the store and reports whether that is paid now.
func (d *Dispatcher) owe(n int) (paid bool) {
	f := &d.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.owed += n
	return n < 0 && f.owed == 0
}

// Health returns nil if the store worked when it was last used, and else what it said.
func (d *Dispatcher) Health(ctx context.Context) error {
	d.faults.mu.Lock()
	defer d.faults.mu.Unlock()
	if d.faults.err != nil {
		return fmt.Errorf("webhook: the store fails since %s: %w", d.faults.since.Format(time.RFC3339), d.faults.err)
	}
	return ctx.Err()
}
