// Benchmarks measures what a durable delivery costs, against a bare loop of POSTs and against other ways to send
// webhooks from Go. Run it in its own folder:
//
//	go run .          # everything, half an hour; writes README.md, results.svg and results.json
//	go run . -quick   # a second each, a minute or two; writes nothing
//
// Each measurement runs in a process of its own and sends to a receiver in another. Traffic stays on loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/peer"
	"github.com/outhook/webhook/benchmarks/internal/receiver"
	"github.com/outhook/webhook/benchmarks/internal/report"
	"github.com/outhook/webhook/benchmarks/internal/sender"
)

// options are what the command line says.
type options struct {
	quick         bool
	reps          int
	warm, measure time.Duration
	waiting       int
	finished      int
	only          *regexp.Regexp
	dir, out      string
	wrap          []string
	profiles      string
	report        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := role(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// role does what this process is for: the program starts itself as receiver and as senders.
func role(ctx context.Context) error {
	if len(os.Args) == 3 && os.Args[1] == "receive" {
		return receiver.Serve(os.Args[2], os.Stdin, os.Stdout)
	}
	if child, err := sender.RunAsChild(ctx); child {
		return err
	}
	if len(os.Args) == 2 && os.Args[1] == "measure" {
		return peer.Run(ctx, os.Stdin, os.Stdout, sender.Senders, sender.Studies)
	}
	o, err := parse()
	if err != nil {
		return err
	}
	if o.report {
		return writeReport(o)
	}
	return run(ctx, o)
}

func parse() (o options, err error) {
	flag.BoolVar(&o.quick, "quick", false, "measure each row once and short, write no results: only to see that all works")
	flag.IntVar(&o.reps, "reps", 7, "how `many` interleaved repetitions")
	flag.DurationVar(&o.warm, "warm", time.Second, "warm-up of each measurement")
	flag.DurationVar(&o.measure, "measure", 4*time.Second, "length of each measurement")
	flag.IntVar(&o.waiting, "waiting", 1_000_000, "`deliveries` that wait, for memory, open and list; 0: leave these out")
	flag.IntVar(&o.finished, "finished", 1_000_000, "finished `deliveries` beside which is claimed; 0: leave it out (10,000,000 take a quarter of an hour and some 10 GB)")
	only := flag.String("only", "", "only rows that match this `expression`; what they change in results.json is kept with the rest")
	flag.StringVar(&o.dir, "dir", "", "a `folder` on the disk to be measured (default: the system's for temporary files)")
	flag.StringVar(&o.out, "out", ".", "`folder` of README.md, results.svg and results.json")
	wrap := flag.String("wrap", "", "`words` put before the command of each measurement, such as those of a lock")
	flag.StringVar(&o.profiles, "cpuprofile", "", "`folder` for CPU profiles of our own rows")
	flag.BoolVar(&o.report, "report", false, "measure nothing: write README.md and results.svg from results.json")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	o.wrap = strings.Fields(*wrap)
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.quick {
		o.reps, o.warm, o.measure = 1, 200*time.Millisecond, time.Second
		o.waiting, o.finished = min(o.waiting, 20_000), min(o.finished, 20_000)
	}
	if o.reps < 1 || o.measure <= 0 || o.warm <= 0 || o.waiting < 0 || o.finished < 0 {
		return o, errors.New("-reps, -warm and -measure must be positive, -waiting and -finished not negative")
	}
	return o, nil
}

func run(ctx context.Context, o options) (err error) {
	results := report.New(o.reps)
	if o.only.String() != "" && !o.quick {
		if old, err := report.Read(o.out); err == nil {
			results = old
		}
	}
	b, err := newBench(ctx, o, results)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	err = b.all(ctx)
	if !o.quick {
		err = errors.Join(err, results.Write(o.out)) // what there is, even after a failure
	}
	if err != nil {
		return err
	}
	results.Print(os.Stdout)
	if o.quick {
		return b.rehearse()
	}
	return writeReport(o)
}

func writeReport(o options) error {
	results, err := report.Read(o.out)
	if err != nil {
		return err
	}
	return results.WriteReadme(o.out)
}
