package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	sendMustFailIn = time.Second     // on a full disk
	mustRecoverIn  = 5 * time.Second // once it has space
	holdFull       = 1500 * time.Millisecond
	holdFullMost   = 8 * time.Second  // for a Send to meet it: commits that overwrite the WAL need no space
	meetFullWithin = 60 * time.Second // of the last process, if none met it before
	codeFull       = 13               // SQLITE_FULL
	codeIOErr      = 10               // SQLITE_IOERR: what cannot grow may also be the -shm file
)

// startFiller fills the disk of the database now and then. stop frees it.
func (r *round) startFiller() (stop func() error) {
	end, done := make(chan struct{}), make(chan error, 1)
	go func() {
		random := rand.New(rand.NewPCG(r.o.Seed, uint64(r.n)<<8|99))
		for {
			if wait(end, time.Second+time.Duration(random.Int64N(int64(2*time.Second)))) {
				done <- nil
				return
			}
			if err := r.fillOnce(end); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() error {
		close(end)
		return <-done
	}
}

// wait reports that end came first.
func wait(end <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-end:
		return true
	case <-t.C:
		return false
	}
}

// fillOnce leaves no byte of space for a while.
func (r *round) fillOnce(end <-chan struct{}) error {
	path := filepath.Join(r.dir, "filler")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	met, since := r.book.metFull(), time.Now()
	for time.Since(since) < holdFull || r.book.metFull() == met && time.Since(since) < holdFullMost {
		if _, err := file.Write(block); err == nil {
			continue
		} else if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		if len(block) > 1 {
			block = block[:len(block)/2]
		} else if wait(end, 5*time.Millisecond) { // a checkpoint may free some more
			break
		} else {
			block = block[:4096]
		}
	}
	r.book.diskFreed(os.Remove(path))
	return nil
}

// diskFreed starts the clock of recovery.
func (b *book) diskFreed(err error) {
	b.fail(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.freed = time.Now()
	b.fullTimes++
}

// metFull counts the Sends that a full disk made fail.
func (b *book) metFull() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.codes[codeFull]
}

// untilFull waits for the first of them.
func (r *round) untilFull(ctx context.Context, p *process) {
	ctx, cancel := context.WithTimeout(ctx, meetFullWithin)
	defer cancel()
	for r.book.metFull() == 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// checkFull is what is promised of a full disk.
func (b *book) checkFull(o options) {
	if !o.Full {
		return
	}
	if b.codes[codeFull] == 0 {
		b.faults = append(b.faults, errors.New("no Send met the full disk"))
	}
	for code, n := range b.codes {
		if code != codeFull && code != codeIOErr {
			b.faults = append(b.faults, fmt.Errorf("%d Sends met the full disk with SQLite's code %d, not %d", n, code, codeFull))
		}
	}
	if b.slowestError > sendMustFailIn {
		b.faults = append(b.faults, fmt.Errorf("on a full disk Send took %s to fail; its limit is %s", b.slowestError, sendMustFailIn))
	}
	if b.recovery > mustRecoverIn {
		b.faults = append(b.faults, fmt.Errorf("%s passed between free space and the next Send; the limit is %s", b.recovery, mustRecoverIn))
	}
}
