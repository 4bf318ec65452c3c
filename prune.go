package webhook

import (
	"context"
	"time"
)

const (
	pruneEvery = time.Hour
	tendEvery  = time.Second           // a store's maintenance
	pruneStep  = 500                   // rows looked at in one transaction
	prunePause = 20 * time.Millisecond // between steps, for the deliveries
)

// janitor applies retention while Run runs: a round at the start, every hour, and when something was
// disabled or deleted.
func (r *run) janitor(ctx context.Context) {
	for {
		r.pruneRound(ctx)
		if r.once || !sleep(ctx, pruneEvery, r.prune) {
			return
		}
	}
}

// maintained is a store that wants its files looked after.
type maintained interface {
	Maintain(ctx context.Context, now time.Time) error
}

// tend lets a store look after its files while Run runs.
func (r *run) tend(ctx context.Context) {
	m, ok := r.d.store.(maintained)
	if !ok {
		return
	}
	failing := false
	for {
		err := m.Maintain(ctx, r.d.now())
		if err != nil && ctx.Err() == nil && !failing {
			r.d.log.Warn("webhook: the store's maintenance fails and is tried again every second", "error", err)
		}
		failing = err != nil
		if r.once || !sleep(ctx, tendEvery, nil) {
			return
		}
	}
}

// pruneRound goes through the store once, in small steps. After a fault the next round begins anew.
func (r *run) pruneRound(ctx context.Context) {
	cursor := ""
	for ctx.Err() == nil {
		res, err := r.d.store.Prune(ctx, r.d.pruneRequest(cursor))
		if err != nil {
			if ctx.Err() == nil {
				r.d.log.Warn("webhook: retention waits for the store", "error", err)
			}
			return
		}
		if cursor = res.Cursor; cursor == "" {
			break
		}
		if !sleep(ctx, prunePause, nil) {
			return
		}
	}
}

func (d *Dispatcher) pruneRequest(cursor string) PruneRequest {
	now := d.now()
	req := PruneRequest{Now: now, Cursor: cursor, Limit: pruneStep}
	if d.cfg.DetailRetention >= 0 {
		req.DetailBefore = now.Add(-d.cfg.DetailRetention)
	}
	if d.cfg.Retention >= 0 {
		req.FinishedBefore = now.Add(-d.cfg.Retention)
	}
	return req
}

// pruneSoon begins a round now, if Run is running.
func (d *Dispatcher) pruneSoon() {
	if r := d.current.Load(); r != nil {
		select {
		case r.prune <- struct{}{}:
		default:
		}
	}
}

// sleep waits and reports whether ctx still lives. A value on early ends the wait.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
		return false
	}
	return true
}
