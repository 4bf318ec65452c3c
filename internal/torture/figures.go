package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// figures sum up a whole run.
type figures struct {
	Cycles, Acked, Events, Deliveries, Requests            int
	Lost, Stuck, GivenUp                                   int
	Duplicates, Interrupted, Rescued                       int
	Resent, Refused                                        int
	Errors                                                 map[int]int // by SQLite's code
	TakeOver, LastOver, Open, Send, Error, Drain, Recovery time.Duration
	Integrity                                              int // checks passed
	Terminated, Crashes, Stopped, Overlaps, Fenced         int // with Postgres
	Took                                                   time.Duration
}

// sum adds a round to the figures.
func (b *book) sum(f *figures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f.Cycles += b.kills
	f.Events += b.events
	f.Deliveries += b.deliveries
	f.Requests += b.requests
	f.Lost += b.lost
	f.Stuck += b.stuck
	f.GivenUp += b.givenUp
	f.Duplicates += b.duplicates
	f.Interrupted += b.interrupted
	f.Rescued += b.rescued
	f.Integrity += b.integrity
	f.Terminated += b.terminated
	f.Crashes += b.crashes
	f.Stopped += b.stopped
	f.Overlaps += b.overlaps
	f.Fenced += b.fenced
	for _, s := range b.sends {
		if s.status == sendAcked {
			f.Acked++
		}
		if s.maybe {
			f.Resent++
		}
	}
	if f.Errors == nil {
		f.Errors = map[int]int{}
	}
	for code, n := range b.codes {
		f.Errors[code] += n
	}
	f.TakeOver = max(f.TakeOver, b.takeOver)
	f.LastOver = max(f.LastOver, b.lastOver)
	f.Open = max(f.Open, b.slowestOpen)
	f.Send = max(f.Send, b.slowestSend)
	f.Error = max(f.Error, b.slowestError)
	f.Drain = max(f.Drain, b.slowestDrain)
	f.Recovery = max(f.Recovery, b.recovery)
}

func (f *figures) print(w io.Writer, o options) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, v any, note string) { fmt.Fprintf(t, "%s\t%v\t%s\n", name, v, note) }
	line("cycles", f.Cycles, fmt.Sprintf("seed %d, %d at once, %s", o.Seed, o.Procs, f.Took.Round(time.Second)))
	line("events", f.Events, fmt.Sprintf("%d acknowledged; %d of them sent again after a death in between", f.Acked, f.Resent))
	line("deliveries", f.Deliveries, "")
	line("requests", f.Requests, "")
	line("lost", f.Lost, "acknowledged and not in the database, or without a delivery")
	line("stuck", f.Stuck, "without a final state")
	line("given up", f.GivenUp, "interrupted more than ten times in a row, which is charged")
	line("duplicates", f.Duplicates, fmt.Sprintf("requests after a success; at most %d were in flight", workers*f.Cycles))
	line("interrupted attempts", f.Interrupted, fmt.Sprintf("%d of deliveries found at a restart", f.Rescued))
	line("integrity_check ok", f.Integrity, "times")
	if o.Postgres {
		line("overlapping attempts", f.Overlaps, "of one delivery, under a live lease")
		line("connections terminated", f.Terminated, "")
		line("crashes of the server", f.Crashes, "pg_ctl stop -m immediate")
		line("processes stopped", f.Stopped, fmt.Sprintf("by SIGSTOP, for %v", o.StopFor))
		line("results fenced off", f.Fenced, "failures that a stopped process brought after its lease")
		line("slowest take-over", f.TakeOver.Round(time.Millisecond), fmt.Sprintf("of a lease of %v; the limit is %v", pgLease, o.TakeOver))
		line("slowest Send", f.Send.Round(time.Millisecond), "")
		line("errors of Send", f.Errors[0], "sent again later")
		_ = t.Flush()
		return
	}
	line("slowest take-over", f.TakeOver.Round(time.Millisecond), "from opening the store to the first delivery taken over from the dead")
	line("of the last delivery", f.LastOver.Round(time.Millisecond), "which waits for a slot like all others")
	line("slowest opening", f.Open.Round(time.Millisecond), "of the store, part of the take-over")
	line("slowest Send", f.Send.Round(time.Millisecond), "")
	if o.Term {
		line("slowest Run to return", f.Drain.Round(time.Millisecond), fmt.Sprintf("after SIGTERM; DrainTimeout is %s", drainTimeout))
	}
	for _, code := range slices.Sorted(maps.Keys(f.Errors)) {
		line(fmt.Sprintf("errors with code %d", code), f.Errors[code], "of Send")
	}
	if len(f.Errors) > 0 {
		line("slowest error", f.Error.Round(time.Millisecond), "of Send")
	}
	if o.Full {
		line("slowest recovery", f.Recovery.Round(time.Millisecond), "from free space to the next acknowledged Send")
	}
	_ = t.Flush()
}
