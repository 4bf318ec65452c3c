// Package batch gathers the items of many callers into few flushes: group commit.
package batch

import (
	"slices"
	"sync"
	"time"
)

// Flush does the work of a batch. What it returns as again is flushed once more after wait, ahead of
// what was added since.
type Flush[T any] func(items []T) (again []T, wait time.Duration)

// Urgency says how long an item may wait for company.
type Urgency uint8

const (
	Lazy    Urgency = iota // for others like it, while urgent items come
	Patient                // for linger, and longer while urgent items come often
	Soon                   // for linger
	Urgent                 // not at all
)

// Batcher gives what was added to its flush function. While a flush is under way the next batch gathers: no
// timer delays an urgent item, but that of expectBack. Where several flushes may be under way at once, the next
// begins when it is worth while, see crowded. Its goroutines live only while there is work.
//
// An urgent item that comes while others are flushed waits for that flush and then for its own. So while
// urgent items come, flushes without one take a small part of the time only: patient items gather for
// them, or ride with urgent ones where those come often. One that comes rarely goes without, and sooner.
// Lazy items gather for a flush of their own: many cost little more than one, and urgent items are spared it.
type Batcher[T any] struct {
	flush  Flush[T]
	weight func(T) int
	limits Limits
	kick   chan struct{} // ends a wait for company; holds at most one
	nudge  chan struct{} // makes a wait for company be reckoned anew; holds at most one

	mu         sync.Mutex
	pending    []entry[T]
	urgent     int // urgent items of pending
	soon       int // items of pending, counted from the front, up to the last that is more than patient
	lazy       int // lazy items of pending
	load       int // weight of pending
	gathering  bool
	aloft      []*flight
	took       time.Duration // the last flush
	pause      time.Time     // until when what was put back waits
	alone      bool          // the urgent items of pending go without the others
	expect     int           // so many urgent items may be here soon, since some have just landed
	hold       time.Time     // until when they are waited for
	missed     time.Time     // when they were last waited for in vain
	lastUrgent time.Time     // when the last urgent item came
	rest       time.Time     // until when patient items should wait for an urgent one
	lazySince  time.Time     // when the first lazy item of pending came; zero: they are due
}

type entry[T any] struct {
	item T
	Urgency
}

// flight is a flush under way.
type flight struct {
	load   int
	urgent int // items
}

// Limits are those of a Batcher.
type Limits struct {
	Linger  time.Duration // how long items that are not urgent wait for company
	Max     int           // a batch ends with the item that makes its weight reach this
	Enough  int           // weight that does not wait longer than Linger; at most Max
	Flights int           // flushes at once; 0 is 1
}

const (
	often   = time.Second // urgent items that come within this of each other come often
	share   = 20          // one part in so many of the time is for flushes without an urgent item
	rarely  = 2           // urgent items that come further apart than so many flushes come rarely
	maxRest = 100 * time.Millisecond

	manyCallers = 4                      // are worth waiting for
	sulk        = 100 * time.Millisecond // without waiting for them, once they did not come

	fewLazy = 16                     // lazy items that are worth a flush
	lull    = 20 * time.Millisecond  // without an urgent item: time for the lazy ones
	maxLazy = 100 * time.Millisecond // how long they wait for more
)

// New returns a Batcher.
func New[T any](limits Limits, weight func(T) int, flush Flush[T]) *Batcher[T] {
	limits.Flights = max(1, limits.Flights)
	return &Batcher[T]{flush: flush, weight: weight, limits: limits, kick: make(chan struct{}, 1), nudge: make(chan struct{}, 1)}
}

// Add hands over an item. It does not block.
func (b *Batcher[T]) Add(item T, u Urgency) {
	b.mu.Lock()
	b.pending = append(b.pending, entry[T]{item, u})
	b.load += b.weight(item)
	if u > Patient {
		b.soon = len(b.pending)
	}
	if u == Lazy {
		if b.lazy == 0 {
			b.lazySince = time.Now()
		}
		b.lazy++
	}
	if u == Urgent {
		now := time.Now()
		if b.urgent == 0 {
			b.alone = len(b.aloft) == 0 && now.Sub(b.lastUrgent) > rarely*b.took
		}
		b.urgent++
		b.lastUrgent = now
	}
	hurry := u == Urgent || b.load >= b.limits.Max
	reckon := u == Soon || b.load >= b.limits.Enough || b.lazy == fewLazy
	start := b.begin()
	waits := len(b.aloft) > 0 || b.urgent == b.expect // the gatherer may leave kicks alone, and look again now
	b.mu.Unlock()
	switch {
	case start:
		go b.run()
	case hurry:
		signal(b.kick)
		if waits {
			signal(b.nudge)
		}
	case reckon:
		signal(b.nudge)
	}
}

// Kick flushes what is pending without waiting for company.
func (b *Batcher[T]) Kick() {
	b.mu.Lock()
	b.lazySince = time.Time{}
	b.mu.Unlock()
	signal(b.kick)
}

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
	items := b.take(len(b.pending), Lazy)
	signal(b.kick)
	return items
}

// begin reports whether the caller is to gather: somebody must, and nobody does.
func (b *Batcher[T]) begin() bool {
	if b.gathering || len(b.pending) == 0 || len(b.aloft) >= b.limits.Flights {
		return false
	}
	b.gathering = true
	return true
}

func (b *Batcher[T]) run() {
	for more := true; more; {
		b.gather()
		items, f := b.next()
		if f == nil {
			return
		}
		if len(items) == 0 {
			continue
		}
		began := time.Now()
		again, pause := b.flush(items)
		more = b.landed(f, time.Since(began), again, pause)
	}
}

// gather waits for company.
func (b *Batcher[T]) gather() {
	for began := time.Now(); ; {
		at, kick := b.until(began)
		wait := time.Until(at)
		if wait <= 0 || !b.await(wait, kick) {
			return
		}
	}
}

// until says how long to wait for company, having begun at a time, and what ends it.
func (b *Batcher[T]) until(began time.Time) (time.Time, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.crowded() {
		return began.Add(time.Hour), nil // whoever lands nudges
	}
	if b.urgent > 0 && b.urgent < b.expect && time.Now().Before(b.hold) {
		return b.hold, nil // or the last of them nudges
	}
	return b.company(began), b.kick
}

func (b *Batcher[T]) company(began time.Time) time.Time {
	end := began.Add(b.limits.Linger)
	switch {
	case b.urgent == 0 && b.pause.After(time.Now()):
		return b.pause
	case b.urgent > 0 || b.load >= b.limits.Max || len(b.pending) == 0:
		return time.Time{}
	case b.lazy == len(b.pending) && b.lazyDue().After(end):
		return b.lazyDue()
	case b.soon == 0 && b.load < b.limits.Enough && b.rest.After(end):
		return b.rest
	}
	return end
}

// crowded reports that it is better to wait for a flush to land than to begin another: that pays for what is
// urgent if nothing urgent is under way, or no more than now waits. So callers who come in turns are shared out
// evenly, and one who comes alone does not wait for another.
func (b *Batcher[T]) crowded() bool {
	if len(b.aloft) == 0 {
		return false
	}
	load := 0
	for _, f := range b.aloft {
		if f.urgent > 0 {
			load += f.load
		}
	}
	return len(b.aloft) >= b.limits.Flights || b.load < load || b.urgent == 0 && b.load < b.limits.Enough
}

// lazyDue says when the lazy items of pending are to get a flush of their own.
func (b *Batcher[T]) lazyDue() time.Time {
	quiet, latest := b.lastUrgent.Add(lull), b.lazySince.Add(maxLazy)
	switch {
	case b.lazy >= fewLazy:
		return b.lazySince
	case quiet.Before(latest):
		return quiet
	}
	return latest
}

// least says what goes with the next flush. Lazy items ride with urgent ones only where those are many
// already, or leave no time between their flushes.
func (b *Batcher[T]) least() Urgency {
	switch now := time.Now(); {
	case b.load >= b.limits.Enough || now.Sub(b.lazySince) >= 2*maxLazy:
		return Lazy
	case b.urgent > 0 || b.lazyDue().After(now):
		return Patient
	}
	return Lazy
}

// landed notes that a flush is over, and reports whether the caller is to gather.
func (b *Batcher[T]) landed(f *flight, took time.Duration, again []T, pause time.Duration) (more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.aloft = slices.DeleteFunc(b.aloft, func(other *flight) bool { return other == f })
	b.took = took
	b.expectBack(f, now)
	if f.urgent == 0 && now.Sub(b.lastUrgent) < often {
		b.rest = now.Add(min(share*took, maxRest))
	}
	if len(again) > 0 {
		b.putBack(again)
		b.pause = now.Add(pause)
	}
	if more = b.begin(); b.gathering && !more {
		signal(b.nudge)
	}
	return more
}

// expectBack has the next flush wait a moment for callers who have just got their answer, if they are many: as
// a rule they come back at once, and one flush for all costs less than one for the first and one for the rest.
func (b *Batcher[T]) expectBack(f *flight, now time.Time) {
	b.expect = 0
	if f.urgent >= manyCallers && now.Sub(b.missed) > sulk {
		b.expect, b.hold = b.urgent+f.urgent*3/4, now.Add(b.took/8)
	}
}

// await reports whether it was nudged.
func (b *Batcher[T]) await(d time.Duration, kick <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-b.nudge:
		return true
	}
	return false
}

// next takes a batch off the front: an empty one if nothing is to go yet. If nothing is pending there is no
// flight, and nobody gathers.
func (b *Batcher[T]) next() (items []T, f *flight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.pending) == 0 {
		b.gathering = false
		return nil, nil
	}
	select {
	case <-b.kick: // it was for these items
	default:
	}
	load, urgent := b.load, b.urgent
	if b.alone && b.load < b.limits.Enough {
		items = b.take(len(b.pending), Urgent)
	} else {
		items = b.takeBatch()
	}
	b.alone = false
	f = &flight{load: load - b.load, urgent: urgent - b.urgent}
	if len(items) == 0 {
		return nil, f
	}
	if f.urgent > 0 && urgent < b.expect {
		b.missed = time.Now()
	}
	b.aloft = append(b.aloft, f)
	b.gathering = false
	if b.begin() {
		go b.run()
	}
	return items, f
}

func (b *Batcher[T]) takeBatch() []T {
	least := b.least()
	n, load := 0, 0
	for n < len(b.pending) && load < b.limits.Max {
		if b.pending[n].Urgency >= least {
			load += b.weight(b.pending[n].item)
		}
		n++
	}
	return b.take(n, least)
}

// take removes those of the first n items that are at least so urgent, and returns them.
func (b *Batcher[T]) take(n int, least Urgency) (items []T) {
	items = make([]T, 0, n)
	left := make([]entry[T], 0, len(b.pending))
	urgent, soon, lazy := 0, 0, 0
	for i, e := range b.pending {
		if i < n && e.Urgency >= least {
			items = append(items, e.item)
			b.load -= b.weight(e.item)
			continue
		}
		left = append(left, e)
		if e.Urgency > Patient {
			soon = len(left)
		}
		if e.Urgency == Lazy {
			lazy++
		}
		if e.Urgency == Urgent {
			urgent++
		}
	}
	b.pending, b.urgent, b.soon, b.lazy = left, urgent, soon, lazy
	return items
}

func (b *Batcher[T]) putBack(items []T) {
	back := make([]entry[T], len(items), len(items)+len(b.pending))
	for i, item := range items {
		back[i] = entry[T]{item, Patient}
		b.load += b.weight(item)
	}
	b.pending = append(back, b.pending...)
	if b.soon > 0 {
		b.soon += len(items)
	}
}
