package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
)

type options struct {
	Cycles, Round, Procs, Load int
	Seed                       uint64
	MinLife, MaxLife           time.Duration
	TakeOver                   time.Duration // longest allowed; 0: any
	Term, Busy, Full, Postgres bool
	CrashEvery                 time.Duration // of the server; with Postgres
	StopFor                    time.Duration // how long a process is stopped; with Postgres
	Dir                        string
	Progress                   io.Writer
}

func defaults() options {
	return options{
		Round: 100, Procs: 1, Load: 150, Seed: 1,
		MinLife: 5 * time.Millisecond, MaxLife: 600 * time.Millisecond, CrashEvery: 15 * time.Second, StopFor: 2*pgLease + time.Second,
		Progress: io.Discard,
	}
}

const (
	workers        = 16
	attemptTimeout = 5 * time.Second
	drainTimeout   = time.Second
	// Beyond these a process counts as hanging.
	exitTimeout = drainTimeout + 10*time.Second
	idleTimeout = 2 * time.Minute
)

// torture runs all rounds. Its error joins everything that was found to be wrong.
func torture(ctx context.Context, o options) (*figures, error) {
	f := &figures{}
	started := time.Now()
	defer func() { f.Took = time.Since(started) }()
	fmt.Fprintf(o.Progress, "torture: %d cycles, seed %d\n", o.Cycles, o.Seed)
	for n := 0; f.Cycles < o.Cycles; n++ {
		if err := newRound(o, n, f).run(ctx, min(o.Round, o.Cycles-f.Cycles)); err != nil {
			return f, err
		}
		fmt.Fprintf(o.Progress, "torture: %d of %d cycles, %s: %d lost, %d stuck, %d duplicates\n",
			f.Cycles, o.Cycles, time.Since(started).Round(time.Second), f.Lost, f.Stuck, f.Duplicates)
	}
	return f, nil
}

// round is the life of one database file.
type round struct {
	o         options
	n         int
	dir, path string // of the database
	records   string // the directory of the ledger
	receiver  *receiver
	book      *book
	cluster   *pgtest.Cluster // nil: SQLite
	url       string          // of the database in it
	endpoints []webhook.Endpoint
	figures   *figures
}

func newRound(o options, n int, f *figures) *round {
	r := &round{o: o, n: n, figures: f, book: newBook()}
	r.book.postgres = o.Postgres
	return r
}

func (r *round) run(ctx context.Context, cycles int) (err error) {
	defer func() {
		if r.cluster != nil {
			err = errors.Join(err, r.cluster.Stop())
		}
	}()
	if err := r.setUp(ctx); err != nil {
		return err
	}
	defer r.receiver.close()
	stop := r.disturb()
	r.cycle(ctx, cycles)
	r.book.fail(stop())
	if ctx.Err() == nil {
		r.finish(ctx)
		r.verify(context.WithoutCancel(ctx))
	}
	r.book.sum(r.figures)
	if err := errors.Join(ctx.Err(), r.book.failures()); err != nil {
		return fmt.Errorf("round %d, seed %d, files in %s:\n%w", r.n, r.o.Seed, r.keep(), err)
	}
	return errors.Join(os.RemoveAll(r.dir), os.RemoveAll(r.records))
}

// keep sees to it that the files outlive this process, and says where they are.
func (r *round) keep() string {
	if !r.o.Full {
		return r.dir
	}
	for _, name := range []string{"webhooks.db", "webhooks.db-wal"} {
		if err := copyFile(filepath.Join(r.records, name), filepath.Join(r.dir, name)); err != nil {
			fmt.Fprintln(os.Stderr, "torture:", err)
		}
	}
	return r.records
}

// setUp makes a new database with endpoints, and the receiver they lead to.
func (r *round) setUp(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp(r.o.Dir, "torture-"); err != nil {
		return err
	}
	r.path, r.records = filepath.Join(r.dir, "webhooks.db"), r.dir
	if r.o.Full { // only the database may suffer
		if r.records, err = os.MkdirTemp("", "torture-records-"); err != nil {
			return err
		}
	}
	if r.receiver, err = newReceiver(filepath.Join(r.records, "ledger"), r.o.Seed+uint64(r.n), r.o.Term); err != nil {
		return err
	}
	if err := r.startServer(ctx); err != nil {
		return err
	}
	st, err := openStore(ctx, r.path, r.url)
	if err != nil {
		return err
	}
	d, err := webhook.New(st, webhook.Config{})
	if err != nil {
		return err
	}
	for i, e := range blueprints() {
		e.URL, e.AllowPrivate = fmt.Sprintf("%s/%d", r.receiver.url(), i), webhook.Loopback
		if e, err = d.CreateEndpoint(ctx, e); err != nil {
			return err
		}
		r.endpoints = append(r.endpoints, e)
	}
	return st.Close()
}

// blueprints are the endpoints of each round, by the path that they have at the receiver.
func blueprints() []webhook.Endpoint {
	return []webhook.Endpoint{
		{Description: "everything"},
		{Description: "orders", EventTypes: []string{"order.*"}},
		{Description: "in order", EventTypes: []string{"order.paid"}, Ordered: true},
		{Description: "invoices", EventTypes: []string{"invoice.*"}, MaxInFlight: 2},
	}
}

// disturb starts what the mode asks for beside the processes that deliver. The function it returns
// ends that.
func (r *round) disturb() (stop func() error) {
	switch {
	case r.o.Postgres:
		return r.harass()
	case r.o.Busy:
		return r.startBlocker()
	case r.o.Full:
		return r.startFiller()
	}
	return func() error { return nil }
}

// cycle starts and ends processes, Procs at a time.
func (r *round) cycle(ctx context.Context, cycles int) {
	var wg sync.WaitGroup
	left := make(chan int, cycles)
	for n := range cycles {
		left <- n
	}
	close(left)
	for slot := range r.o.Procs {
		random := rand.New(rand.NewPCG(r.o.Seed, uint64(r.n)<<8|uint64(slot)))
		wg.Go(func() {
			for n := range left {
				if ctx.Err() != nil || r.book.failures() != nil {
					return
				}
				r.book.fail(r.oneCycle(ctx, fmt.Sprintf("%d.%d", r.n, n), n == cycles-1, random))
			}
		})
	}
	wg.Wait()
}

func (r *round) oneCycle(ctx context.Context, name string, last bool, random *rand.Rand) error {
	p, err := r.start(job{
		Name: name, Seed: random.Uint64(), Load: r.o.Load, Resend: r.book.takeUnknown(), Drain: r.o.Term,
	})
	if err != nil {
		return err
	}
	life := time.NewTimer(r.o.MinLife + time.Duration(random.Int64N(int64(r.o.MaxLife-r.o.MinLife)+1)))
	defer life.Stop()
	select {
	case <-life.C:
	case <-p.ended:
	case <-ctx.Done():
	}
	if r.o.Full && last {
		r.untilFull(ctx, p)
	}
	if !r.o.Term && random.IntN(2) == 0 {
		p.untilSend(ctx, time.Duration(random.Int64N(int64(shortSend))))
	}
	if r.o.Term {
		err = p.terminate()
	} else {
		err = p.kill()
	}
	r.book.ended(p)
	r.book.killed()
	if err != nil {
		return fmt.Errorf("process %s: %w", name, err)
	}
	if err := r.checkIntegrity(); err != nil {
		return fmt.Errorf("after process %s: %w", name, err)
	}
	return nil
}

// shortSend is about what a Send takes where nothing is in its way: few kills would hit one by chance.
const shortSend = 500 * time.Microsecond

// untilSend waits until a Send is under way for that long.
func (p *process) untilSend(ctx context.Context, d time.Duration) {
	select {
	case <-p.tries:
		time.Sleep(d)
	case <-time.After(time.Second): // it may have nothing to send
	case <-p.ended:
	case <-ctx.Done():
	}
}

func (p *process) askedNow() {
	now := time.Now()
	p.asked.Store(&now)
}

// kill ends a process without warning. That it had ended by itself is an error.
func (p *process) kill() error {
	p.askedNow()
	killErr := p.cmd.Process.Kill()
	<-p.ended
	if killErr != nil || p.signal() != syscall.SIGKILL {
		return fmt.Errorf("ended by itself: %v\n%s", p.cmd.ProcessState, p.stderr.String())
	}
	return nil
}

// terminate asks a process to end, which it must do in time and with status 0.
func (p *process) terminate() error {
	p.askedNow()
	asked := p.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(exitTimeout, func() { _ = p.cmd.Process.Kill() })
	<-p.ended
	inTime := late.Stop()
	switch {
	case asked != nil:
		return fmt.Errorf("ended by itself: %v\n%s", p.cmd.ProcessState, p.stderr.String())
	case !inTime:
		return fmt.Errorf("still ran %s after SIGTERM\n%s", exitTimeout, p.stderr.String())
	case p.signal() == syscall.SIGTERM && !p.isUp():
		return nil // it had not yet come to listening for signals
	case !p.cmd.ProcessState.Success():
		return fmt.Errorf("ended badly after SIGTERM: %v\n%s", p.cmd.ProcessState, p.stderr.String())
	}
	return nil
}

// finish runs a last process until there is nothing left to deliver.
func (r *round) finish(ctx context.Context) {
	p, err := r.start(job{Name: fmt.Sprintf("%d.last", r.n), Resend: r.book.takeUnknown(), UntilIdle: true, Drain: true})
	if err != nil {
		r.book.fail(err)
		return
	}
	stuck := time.AfterFunc(idleTimeout, func() { _ = p.cmd.Process.Kill() })
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	defer stop()
	<-p.ended
	if !stuck.Stop() {
		r.book.fail(fmt.Errorf("the last process was not idle after %s\n%s", idleTimeout, p.stderr.String()))
	} else if !p.cmd.ProcessState.Success() {
		r.book.fail(fmt.Errorf("the last process failed: %v\n%s", p.cmd.ProcessState, p.stderr.String()))
	}
	r.book.ended(p)
	r.book.fail(r.checkIntegrity())
}
