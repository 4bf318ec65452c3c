// Package batch gathers the items of many callers into few flushes: group commit.
package batch

import (
	"sync"
	"time"
)

// Flush does the work of a batch. What it returns as again is flushed once more after wait, ahead of
// what was added since.
type Flush[T any] func(items []T) (again []T, wait time.Duration)

// Batcher gives what was added to its flush function, one flush at a time. While one is under way the
// next batch gathers: no timer delays an urgent item. Its goroutine lives only while there is work.
type Batcher[T any] struct {
	flush  Flush[T]
	weight func(T) int
	linger time.Duration
	max    int
	kick   chan struct{} // ends a wait for company; holds at most one

	mu      sync.Mutex
	pending []T
	urgent  int // items of pending, counted from the front, up to the last urgent one
	load    int // weight of pending
	running bool
}

// New returns a Batcher. Items that are not urgent wait up to linger for company. A batch ends with
// the item that makes its weight reach max.
func New[T any](linger time.Duration, max int, weight func(T) int, flush Flush[T]) *Batcher[T] {
	return &Batcher[T]{flush: flush, weight: weight, linger: linger, max: max, kick: make(chan struct{}, 1)}
}

// Add hands over an item. It does not block.
func (b *Batcher[T]) Add(item T, urgent bool) {
	b.mu.Lock()
	b.pending = append(b.pending, item)
	b.load += b.weight(item)
	if urgent {
		b.urgent = len(b.pending)
	}
	hurry := urgent || b.load >= b.max
	start := !b.running
	b.running = true
	b.mu.Unlock()
	switch {
	case start:
		go b.run()
	case hurry:
		b.Kick()
	}
}

// Kick flushes what is pending without waiting for company.
func (b *Batcher[T]) Kick() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Take removes what is pending and not being flushed, and returns it.
func (b *Batcher[T]) Take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.pending
	b.pending, b.urgent, b.load = nil, 0, 0
	b.Kick()
	return items
}

func (b *Batcher[T]) run() {
	for wait := b.linger; ; {
		if wait > 0 && (wait != b.linger || !b.due()) {
			b.await(wait)
		}
		items := b.next()
		if items == nil {
			return
		}
		again, pause := b.flush(items)
		wait = b.linger
		if len(again) > 0 {
			b.putBack(again)
			wait = pause
		}
	}
}

// due reports whether a flush should not wait for company.
func (b *Batcher[T]) due() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.urgent > 0 || b.load >= b.max || len(b.pending) == 0
}

func (b *Batcher[T]) await(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.kick:
	}
}

// next takes a batch off the front. Without one it returns nil and the goroutine is over.
func (b *Batcher[T]) next() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.running = false
		return nil
	}
	select {
	case <-b.kick: // it was for these items
	default:
	}
	n, load := 0, 0
	for n < len(b.pending) && load < b.max {
		load += b.weight(b.pending[n])
		n++
	}
	items := b.pending[:n:n]
	b.pending = append([]T(nil), b.pending[n:]...)
	b.urgent = max(0, b.urgent-n)
	b.load -= load
	return items
}

func (b *Batcher[T]) putBack(items []T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending = append(items, b.pending...)
	if b.urgent > 0 {
		b.urgent += len(items)
	}
	for _, item := range items {
		b.load += b.weight(item)
	}
}
