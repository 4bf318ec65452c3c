// Package batch gathers the items of many callers into few flushes: group commit.
package batch

import (
	"sync"
	"time"
)

// Flush does the work of a batch. What it returns as again is flushed once more after wait, ahead of
// what was added since.
type Flush[T any] func(items []T) (again []T, wait time.Duration)

// Urgency says how long an item may wait for company.
type Urgency uint8

const (
	Patient Urgency = iota // for linger, and longer while urgent items come often
	Soon                   // for linger
	Urgent                 // not at all
)

// Batcher gives what was added to its flush function, one flush at a time. While one is under way the
// next batch gathers: no timer delays an urgent item. Its goroutine lives only while there is work.
//
// An urgent item that comes while others are flushed waits for that flush and then for its own. So while
// urgent items come, flushes without one take a small part of the time only: patient items ride with
// them instead.
type Batcher[T any] struct {
	flush  Flush[T]
	weight func(T) int
	limits Limits
	kick   chan struct{} // ends a wait for company; holds at most one
	nudge  chan struct{} // makes a wait for company be reckoned anew; holds at most one

	mu         sync.Mutex
	pending    []T
	urgent     int // items of pending, counted from the front, up to the last urgent one
	soon       int // the same, up to the last that is not patient
	load       int // weight of pending
	running    bool
	lastUrgent time.Time // when the last urgent item came
	rest       time.Time // until when patient items should wait for an urgent one
}

// Limits are those of a Batcher.
type Limits struct {
	Linger time.Duration // how long items that are not urgent wait for company
	Max    int           // a batch ends with the item that makes its weight reach this
	Enough int           // weight that does not wait any longer for company; at most Max
}

const (
	often   = time.Second // urgent items that come within this of each other come often
	share   = 20          // one part in so many of the time is for flushes without an urgent item
	maxRest = 100 * time.Millisecond
)

// New returns a Batcher.
func New[T any](limits Limits, weight func(T) int, flush Flush[T]) *Batcher[T] {
	return &Batcher[T]{flush: flush, weight: weight, limits: limits, kick: make(chan struct{}, 1), nudge: make(chan struct{}, 1)}
}

// Add hands over an item. It does not block.
func (b *Batcher[T]) Add(item T, u Urgency) {
	b.mu.Lock()
	b.pending = append(b.pending, item)
	b.load += b.weight(item)
	if u != Patient {
		b.soon = len(b.pending)
	}
	if u == Urgent {
		b.urgent = len(b.pending)
		b.lastUrgent = time.Now()
	}
	hurry := u == Urgent || b.load >= b.limits.Enough
	start := !b.running
	b.running = true
	b.mu.Unlock()
	switch {
	case start:
		go b.run()
	case hurry:
		b.Kick()
	case u == Soon:
		signal(b.nudge)
	}
}

// Kick flushes what is pending without waiting for company.
func (b *Batcher[T]) Kick() { signal(b.kick) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Take removes what is pending and not being flushed, and returns it.
func (b *Batcher[T]) Take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.pending
	b.pending, b.urgent, b.soon, b.load = nil, 0, 0, 0
	b.Kick()
	return items
}

func (b *Batcher[T]) run() {
	b.gather()
	for {
		items, urgent := b.next()
		if items == nil {
			return
		}
		began := time.Now()
		again, pause := b.flush(items)
		if !urgent {
			b.flushedAlone(began)
		}
		if len(again) == 0 {
			b.gather()
			continue
		}
		b.putBack(again)
		if pause > 0 {
			b.await(pause, nil)
		}
	}
}

// gather waits for company.
func (b *Batcher[T]) gather() {
	for began := time.Now(); ; {
		wait := time.Until(b.until(began))
		if wait <= 0 || !b.await(wait, b.nudge) {
			return
		}
	}
}

// until says how long to wait for company, having begun at a time.
func (b *Batcher[T]) until(began time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	end := began.Add(b.limits.Linger)
	switch {
	case b.urgent > 0 || b.load >= b.limits.Enough || len(b.pending) == 0:
		return time.Time{}
	case b.soon == 0 && b.rest.After(end):
		return b.rest
	}
	return end
}

// flushedAlone notes that a flush without an urgent item is over.
func (b *Batcher[T]) flushedAlone(began time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := time.Now(); now.Sub(b.lastUrgent) < often {
		b.rest = now.Add(min(share*now.Sub(began), maxRest))
	}
}

// await reports whether it was nudged.
func (b *Batcher[T]) await(d time.Duration, nudge <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.kick:
	case <-nudge:
		return true
	}
	return false
}

// next takes a batch off the front. Without one it returns nil and the goroutine is over.
func (b *Batcher[T]) next() (items []T, urgent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.running = false
		return nil, false
	}
	select {
	case <-b.kick: // it was for these items
	default:
	}
	n, load := 0, 0
	for n < len(b.pending) && load < b.limits.Max {
		load += b.weight(b.pending[n])
		n++
	}
	items, urgent = b.pending[:n:n], b.urgent > 0
	b.pending = append([]T(nil), b.pending[n:]...)
	b.urgent, b.soon = max(0, b.urgent-n), max(0, b.soon-n)
	b.load -= load
	return items, urgent
}

func (b *Batcher[T]) putBack(items []T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(items, b.pending...)
	if b.urgent > 0 {
		b.urgent += len(items)
	}
	if b.soon > 0 {
		b.soon += len(items)
	}
	for _, item := range items {
		b.load += b.weight(item)
	}
}
