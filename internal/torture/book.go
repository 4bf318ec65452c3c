package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// book is what the parent knows of all that its children said in one round.
type book struct {
	mu    sync.Mutex
	sends map[string]*sent // by key

	alive    map[*process]time.Time // since when it opens the store
	orphans  map[string]bool        // deliveries that dead processes left behind
	takeOver time.Duration          // longest, from opening the store to the first orphan taken over
	lastOver time.Duration          // longest, to the last one: those wait for slots like all others
	rescued  int

	freed    time.Time     // the disk has space again; zero: an ack came since
	recovery time.Duration // longest, from freed to the next ack

	// The result, filled in by the comparison.
	kills, events, deliveries, requests, lost, stuck, givenUp, duplicates, interrupted, integrity, fullTimes int

	postgres                                       bool // errors of Send say nothing, most of them
	terminated, crashes, stopped, overlaps, fenced int
	codes                                          map[int]int // errors by SQLite's code
	slowestOpen                                    time.Duration
	slowestSend                                    time.Duration
	slowestError                                   time.Duration
	slowestDrain                                   time.Duration
	faults                                         []error
}

// sent is one event as its senders saw it.
type sent struct {
	status     sendStatus
	by         *process // who is sending it
	maybe      bool     // an earlier process may have stored it
	eventID    string
	deliveries []string
}

type sendStatus int

const (
	sendUnknown sendStatus = iota // its process died before the answer came
	sendBusy                      // being sent
	sendAcked
	sendFailed // an error: nothing was stored
)

func newBook() *book {
	return &book{
		sends: map[string]*sent{}, alive: map[*process]time.Time{}, orphans: map[string]bool{}, codes: map[int]int{},
	}
}

// note takes down what a process said.
func (b *book) note(p *process, m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := time.Duration(m.Millis * float64(time.Millisecond))
	switch m.Kind {
	case saidStart:
		b.alive[p] = time.Now()
	case saidUp:
		b.noteOrphans(p, m.Orphans)
		b.slowestOpen = max(b.slowestOpen, took)
	case saidTry:
		b.noteTry(p, m.Key)
	case saidAck:
		b.noteAck(m)
		b.slowestSend = max(b.slowestSend, took)
	case saidError:
		b.noteError(m)
		b.slowestError = max(b.slowestError, took)
	case saidRescue:
		b.noteRescue(p, m.Key)
	case saidDown:
		b.slowestDrain = max(b.slowestDrain, took)
	}
}

// noteOrphans notes what the dead left behind.
func (b *book) noteOrphans(p *process, orphans []string) {
	if len(b.alive) > 1 {
		return // they may be another's who lives
	}
	for _, id := range orphans {
		b.orphans[id] = true
	}
	p.waits = len(orphans) > 0
}

func (b *book) noteRescue(p *process, delivery string) {
	if !b.orphans[delivery] {
		return
	}
	delete(b.orphans, delivery)
	b.rescued++
	after := time.Since(b.alive[p])
	b.lastOver = max(b.lastOver, after)
	b.tookOver(p, after)
}

// tookOver notes the first delivery that a process took over, or that it died without one.
func (b *book) tookOver(p *process, after time.Duration) {
	if p.waits {
		p.waits = false
		b.takeOver = max(b.takeOver, after)
	}
}

func (b *book) noteTry(p *process, key string) {
	s := b.sends[key]
	if s == nil {
		s = &sent{}
		b.sends[key] = s
	}
	if s.status != sendAcked {
		s.status, s.by = sendBusy, p
	}
}

func (b *book) noteError(m message) {
	b.codes[m.Code]++
	if m.Code == 0 && !b.postgres {
		b.faults = append(b.faults, fmt.Errorf("send of %s failed without a code of SQLite: %s", m.Key, m.Error))
	}
	s := b.sends[m.Key]
	// The commit may be in the WAL already, and be found by whoever opens the file after a crash.
	s.maybe = s.maybe || m.Code == codeIOErr || b.postgres
	switch {
	case s.status == sendAcked:
	case s.maybe:
		s.status = sendUnknown
	default:
		s.status = sendFailed
	}
}

func (b *book) noteAck(m message) {
	s := b.sends[m.Key]
	if s.eventID != "" && s.eventID != m.EventID {
		b.faults = append(b.faults, fmt.Errorf("key %s stands for events %s and %s", m.Key, s.eventID, m.EventID))
	}
	s.status, s.eventID, s.deliveries = sendAcked, m.EventID, m.Deliveries
	if !b.freed.IsZero() {
		b.recovery = max(b.recovery, time.Since(b.freed))
		b.freed = time.Time{}
	}
}

// ended closes the account of a process: what it was sending is unknown.
func (b *book) ended(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if started, ok := b.alive[p]; ok {
		if asked := p.asked.Load(); asked != nil {
			b.tookOver(p, asked.Sub(started))
		}
		delete(b.alive, p)
	}
	for _, s := range b.sends {
		if s.status == sendBusy && s.by == p {
			s.status, s.maybe = sendUnknown, true
		}
	}
}

func (b *book) killed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kills++
}

// takeUnknown returns what nobody knows to be stored, for the next process to send again.
func (b *book) takeUnknown() (keys []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, s := range b.sends {
		if s.status == sendUnknown {
			keys = append(keys, key)
		}
	}
	return keys
}

func (b *book) lose() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost++
}

func (b *book) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.givenUp++
}

func (b *book) stick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stuck++
}

func (b *book) fail(err error) {
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, err)
	}
}

// failures joins what was found to be wrong; of many only the first.
func (b *book) failures() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 20
	if extra := len(b.faults) - most; extra > 0 {
		return errors.Join(append(b.faults[:most:most], fmt.Errorf("and %d more", extra))...)
	}
	return errors.Join(b.faults...)
}
