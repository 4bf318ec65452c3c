package load

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"
)

// meter is one measurement under way.
type meter struct {
	task    *Task
	sender  Sender
	counter *Counter
	base    int // of the counter, before the first delivery
	sent    atomic.Int64
	gate    *gate
}

// patience is how long nothing may arrive, with deliveries outstanding, before a delivery counts as lost.
const patience = 20 * time.Second

// Measure warms a sender up, measures it, and asks its records whether anything was lost.
func Measure(ctx context.Context, task *Task, s Sender) (r Result, err error) {
	counter, err := OpenCounter(task.Counter)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, counter.Close()) }()
	m := &meter{task: task, sender: s, counter: counter, base: counter.Load()}
	m.gate = newGate(m, task.Window)
	defer m.gate.close()
	if _, err = m.work(ctx, task.Warm, true); err != nil {
		return r, fmt.Errorf("warm-up: %w", err)
	}
	r.Warm = int(m.sent.Load())
	time.Sleep(50 * time.Millisecond) // the warm-up's last results are written
	if err = m.measure(ctx, &r); err != nil {
		return r, err
	}
	recorded, err := s.Recorded(ctx)
	if err != nil {
		return r, fmt.Errorf("records: %w", err)
	}
	if recorded != r.Warm+r.Sent {
		return r, fmt.Errorf("%d deliveries were sent and %d are on record as succeeded", r.Warm+r.Sent, recorded)
	}
	return r, nil
}

func (m *meter) measure(ctx context.Context, r *Result) (err error) {
	stop, err := m.profile()
	if err != nil {
		return err
	}
	own, server, err := m.spent()
	if err != nil {
		return err
	}
	start := time.Now()
	if r.Send, err = m.work(ctx, m.task.Measure, false); err != nil {
		return err
	}
	r.Elapsed = time.Since(start)
	if err = m.sender.Settle(ctx); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	ownEnd, serverEnd, err := m.spent()
	if err != nil {
		return err
	}
	r.Sent = int(m.sent.Load()) - r.Warm
	r.CPU, r.ServerCPU = ownEnd-own, serverEnd-server
	return stop()
}

func (m *meter) spent() (own, server time.Duration, err error) {
	if own, err = OwnCPU(); err != nil {
		return 0, 0, err
	}
	if several, ok := m.sender.(interface{ PIDs() []int }); ok {
		for _, pid := range several.PIDs() {
			more, err := ServerCPU(pid)
			if err != nil {
				return 0, 0, err
			}
			own += more
		}
	}
	server, err = ServerCPU(m.task.ServerPID)
	return own, server, err
}

func (m *meter) profile() (stop func() error, err error) {
	if m.task.Profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(m.task.Profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// work sends for a while and waits until all of it has arrived.
func (m *meter) work(ctx context.Context, d time.Duration, warm bool) (latencies []time.Duration, err error) {
	if m.task.Rate > 0 {
		latencies, err = m.paced(ctx, d, warm)
	} else {
		err = m.flatOut(ctx, d, warm)
	}
	if err != nil {
		return nil, err
	}
	return latencies, m.arrived(ctx)
}

// flatOut keeps the callers sending, within the window.
func (m *meter) flatOut(ctx context.Context, d time.Duration, warm bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(d)
	var callers sync.WaitGroup
	for range m.task.Callers {
		callers.Go(func() {
			payloads := make([][]byte, m.task.Batch)
			for time.Now().Before(end) && ctx.Err() == nil {
				last := int(m.sent.Add(int64(len(payloads))))
				m.gate.wait(ctx, last)
				for i := range payloads {
					payloads[i] = Payload(last-i, warm)
				}
				if err := m.sender.Send(ctx, payloads); err != nil {
					cancel(fmt.Errorf("send: %w", err))
				}
			}
		})
	}
	callers.Wait()
	return context.Cause(ctx)
}

// paced sends at a constant rate, however long the Sends take.
func (m *meter) paced(ctx context.Context, d time.Duration, warm bool) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := int(d.Seconds() * float64(m.task.Rate))
	latencies := make([]time.Duration, n)
	start := time.Now()
	var sends sync.WaitGroup
	for i := range n {
		time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(m.task.Rate))))
		seq := int(m.sent.Add(1))
		sends.Go(func() {
			payloads := [][]byte{Payload(seq, warm)}
			began := time.Now()
			err := m.sender.Send(ctx, payloads)
			latencies[i] = time.Since(began)
			if err != nil {
				cancel(fmt.Errorf("send: %w", err))
			}
		})
	}
	sends.Wait()
	return latencies, context.Cause(ctx)
}

// arrived waits for the last receipt.
func (m *meter) arrived(ctx context.Context) error {
	last, moved := -1, time.Now()
	for {
		n := m.counter.Load() - m.base
		if n >= int(m.sent.Load()) {
			return nil
		}
		if n > last {
			last, moved = n, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d of %d deliveries have arrived, and no other for %v", n, m.sent.Load(), patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}

// gate holds callers back while too much is under way, so that no contender is measured at filling its
// backlog.
type gate struct {
	m      *meter
	window int
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	opened  sync.Cond
	waiting int
}

func newGate(m *meter, window int) *gate {
	g := &gate{m: m, window: window, stop: make(chan struct{})}
	g.opened.L = &g.mu
	if m.task.Rate == 0 {
		g.done.Go(g.watch)
	}
	return g
}

// wait returns once all up to the seq-th delivery fit the window.
func (g *gate) wait(ctx context.Context, seq int) {
	if g.fits(seq) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	for !g.fits(seq) && ctx.Err() == nil {
		g.opened.Wait()
	}
	g.waiting--
}

func (g *gate) fits(seq int) bool { return seq-(g.m.counter.Load()-g.m.base) <= g.window }

func (g *gate) watch() {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.mu.Lock()
			if g.waiting > 0 {
				g.opened.Broadcast()
			}
			g.mu.Unlock()
		case <-g.stop:
			return
		}
	}
}

func (g *gate) close() {
	close(g.stop)
	g.done.Wait()
}
