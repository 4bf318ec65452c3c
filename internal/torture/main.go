// Torture kills processes that send and deliver webhooks over one SQLite file, again and again, and
// then proves from three independent records that nothing was lost: the receiver's ledger of requests,
// the sends that were acknowledged before a process died, and the database.
//
//	go run ./internal/torture -cycles 1000
//	go run ./internal/torture -term -cycles 50      ends the processes with SIGTERM
//	go run ./internal/torture -procs 2              two processes at once on the file
//	go run ./internal/torture -busy                 a third process holds the write lock for random times
//	go run ./internal/torture -full -cycles 20      the disk, a small tmpfs, fills up at random times (Linux)
//	go run ./internal/torture -postgres -procs 8    over a throw-away PostgreSQL that crashes itself now and then
//
// Each cycle starts a child process and ends it at a random moment of its life; the moments come from
// -seed, which is printed. After at most -round cycles a last child runs until everything is delivered,
// the records are compared, and the next round begins with a new file. It prints a table of figures and
// ends with status 1 if anything was wrong; the files are then kept.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if runAsChild() {
		return
	}
	o := parse()
	if o.Full {
		if err := insideSmallDisk(); err != nil {
			fmt.Fprintln(os.Stderr, "torture: -full:", err)
			os.Exit(2)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	f, err := torture(ctx, o)
	f.print(os.Stdout, o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "torture: %v\n", err)
		os.Exit(1)
	}
}

func parse() options {
	o := defaults()
	flag.IntVar(&o.Cycles, "cycles", 100, "processes to end")
	flag.IntVar(&o.Round, "round", o.Round, "cycles to one file")
	flag.IntVar(&o.Procs, "procs", o.Procs, "processes at once on the file")
	flag.IntVar(&o.Load, "load", o.Load, "events sent a second by each process")
	flag.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano()), "of everything random")
	flag.DurationVar(&o.MinLife, "min", o.MinLife, "shortest life of a process")
	flag.DurationVar(&o.MaxLife, "max", o.MaxLife, "longest life of a process")
	flag.DurationVar(&o.TakeOver, "takeover", o.TakeOver, "fail if a restarted process begins later to take over from the dead; 0: only report")
	flag.BoolVar(&o.Term, "term", false, "SIGTERM instead of SIGKILL")
	flag.BoolVar(&o.Busy, "busy", false, "another process holds the write lock for random times")
	flag.BoolVar(&o.Full, "full", false, "the disk fills up at random times")
	flag.BoolVar(&o.Postgres, "postgres", false, "over PostgreSQL; its connections are terminated and the server crashes at random times, "+
		"and one more process is stopped for two leases")
	flag.DurationVar(&o.CrashEvery, "crash", o.CrashEvery, "with -postgres: how often the server crashes")
	flag.StringVar(&o.Dir, "dir", "", "where to keep the database; default: a temporary directory")
	flag.Parse()
	o.Progress = os.Stdout
	if o.Full {
		o.Dir = smallDiskDir()
		if !given("max") {
			o.MinLife, o.MaxLife = time.Second, 8*time.Second
		}
	}
	if o.Postgres && !given("max") { // a kill every two seconds
		o.MinLife, o.MaxLife = time.Duration(o.Procs)*time.Second, 3*time.Duration(o.Procs)*time.Second
	}
	if !given("takeover") && o.Procs == 1 && !o.Busy && !o.Full && !o.Postgres {
		o.TakeOver = time.Second
	}
	return o
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
