package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/outhook/webhook"
)

// roleVariable makes this program, or its test, a child. The child reads its job from stdin and
// writes messages to file 3. It ends when stdin does, so it cannot outlive its parent.
const roleVariable = "OUTHOOK_TORTURE_ROLE"

const (
	roleDeliver = "deliver"
	roleBlock   = "block"
)

// job is what a child is told.
type job struct {
	Path      string
	Postgres  string // its connection string; "": SQLite, at Path
	Name      string // prefix of its idempotency keys, and its User-Agent
	Seed      uint64
	Load      int      // events a second
	Resend    []string // keys of which it is not known whether they were stored
	Drain     bool     // SIGTERM is to be obeyed
	UntilIdle bool     // end by itself when nothing is left to deliver
}

// message is what a child says. Its kind says which fields it has.
type message struct {
	Kind       string   `json:"k"`
	Key        string   `json:"key,omitempty"`
	EventID    string   `json:"event,omitempty"`
	Deliveries []string `json:"deliveries,omitempty"`
	Duplicate  bool     `json:"dup,omitempty"`
	Orphans    []string `json:"orphans,omitempty"` // deliveries
	Millis     float64  `json:"ms,omitempty"`
	Error      string   `json:"err,omitempty"`
	Code       int      `json:"code,omitempty"` // SQLite's
}

const (
	saidStart  = "start"  // about to open the store
	saidUp     = "up"     // the store was opened and read in Millis: Orphans
	saidTry    = "try"    // about to send Key
	saidAck    = "ack"    // Send returned nil
	saidError  = "error"  // Send failed after Millis
	saidRescue = "rescue" // delivery Key, left behind by a dead process, was claimed
	saidDown   = "down"   // Run returned after Millis of draining
)

// runAsChild does a child's work if this process is one.
func runAsChild() bool {
	role := os.Getenv(roleVariable)
	if role == "" {
		return false
	}
	var j job
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&j); err != nil {
		fatal(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) // the parent is gone
	}()
	var err error
	if role == roleBlock {
		err = block(j)
	} else {
		err = deliver(j)
	}
	if err != nil {
		fatal(err)
	}
	return true
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// child sends and delivers until it is killed.
type child struct {
	job
	*webhook.Dispatcher
	mu  sync.Mutex
	out *os.File
}

func deliver(j job) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if j.Drain {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGTERM)
		defer stop()
	}
	c := &child{job: j, out: os.NewFile(3, "messages")}
	started := time.Now()
	c.say(message{Kind: saidStart})
	st := c.open(ctx)
	if st == nil {
		return nil
	}
	var err error
	c.Dispatcher, err = webhook.New(st, webhook.Config{
		Workers: workers, AttemptTimeout: options{Postgres: j.Postgres != ""}.timeout(), DrainTimeout: drainTimeout,
		// As many as the receiver refuses, and no more: a crash that used up a retry would show.
		Retry:    webhook.Schedule(slices.Repeat([]time.Duration{20 * time.Millisecond}, refusalsAllowed)...),
		Observer: c, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), UserAgent: j.Name,
	})
	if err != nil {
		return err
	}
	orphans, err := c.orphans(ctx)
	if ctx.Err() != nil {
		return nil // told to end before it had begun
	}
	if err != nil {
		return err
	}
	c.say(message{Kind: saidUp, Orphans: orphans, Millis: millis(time.Since(started))})
	if err := c.work(ctx, stop); err != nil {
		return err
	}
	return st.Close()
}

// open tries as long as a service's supervisor would: the disk may be full, or the file locked.
func (c *child) open(ctx context.Context) store {
	for {
		st, err := openStore(ctx, c.Path, c.Postgres)
		if err == nil {
			return st
		}
		fmt.Fprintln(os.Stderr, "open:", err)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// orphans are the deliveries that another process has leased.
func (c *child) orphans(ctx context.Context) (found []string, err error) {
	q := webhook.DeliveryQuery{AllTenants: true, States: []webhook.DeliveryState{webhook.StateSending}}
	for item, err := range c.Deliveries(ctx, q) {
		if err != nil && c.Postgres != "" {
			return nil, nil // the server is about to crash, most likely; with it, this is of no account
		}
		if err != nil {
			return nil, err
		}
		found = append(found, item.ID)
	}
	return found, nil
}

func (c *child) work(ctx context.Context, stop func()) error {
	var senders sync.WaitGroup
	run := make(chan error, 1)
	go func() { run <- c.Run(ctx) }()
	c.resend(ctx)
	if c.Load > 0 {
		c.load(ctx, &senders)
	}
	if c.UntilIdle {
		if err := c.untilIdle(ctx); err != nil {
			return err
		}
		stop()
	}
	<-ctx.Done()
	asked := time.Now()
	err := <-run
	c.say(message{Kind: saidDown, Millis: millis(time.Since(asked))})
	senders.Wait()
	return err
}

// resend repeats what an earlier process may or may not have stored.
func (c *child) resend(ctx context.Context) {
	for _, key := range c.Resend {
		if ctx.Err() != nil {
			return
		}
		c.send(key)
	}
}

// load starts goroutines that send until ctx ends.
func (c *child) load(ctx context.Context, wg *sync.WaitGroup) {
	const senders, batchOf = 4, 8
	// One in so many rounds of a sender is a batch.
	const batches = 10
	perRound := float64(batches-1+batchOf) / batches
	pause := time.Duration(float64(time.Second) * senders * perRound / float64(c.Load))
	for s := range senders {
		random := rand.New(rand.NewPCG(c.Seed, uint64(s)))
		wg.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%s.%d.%d", c.Name, s, n)
				if random.IntN(batches) == 0 {
					c.sendBatch(key, 1+random.IntN(2*batchOf-1))
				} else {
					c.send(key)
				}
				select {
				case <-time.After(time.Duration(random.Int64N(int64(2 * pause)))):
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

func (c *child) send(key string) {
	c.say(message{Kind: saidTry, Key: key})
	started := time.Now()
	receipt, err := c.Send(context.Background(), eventFor(key))
	if err != nil {
		c.sayError(key, started, err)
		return
	}
	c.sayStored(key, started, receipt)
}

func (c *child) sendBatch(key string, n int) {
	events := make([]webhook.Event, n)
	keys := make([]string, n)
	for i := range events {
		keys[i] = fmt.Sprintf("%s.%d", key, i)
		events[i] = eventFor(keys[i])
		c.say(message{Kind: saidTry, Key: keys[i]})
	}
	started := time.Now()
	receipts, err := c.SendBatch(context.Background(), events)
	for i := range events {
		if err != nil {
			c.sayError(keys[i], started, err)
		} else {
			c.sayStored(keys[i], started, receipts[i])
		}
	}
}

func (c *child) sayStored(key string, started time.Time, r webhook.Receipt) {
	c.say(message{
		Kind: saidAck, Key: key, EventID: r.EventID, Deliveries: r.DeliveryIDs, Duplicate: r.Duplicate,
		Millis: millis(time.Since(started)),
	})
}

func (c *child) sayError(key string, started time.Time, err error) {
	m := message{Kind: saidError, Key: key, Millis: millis(time.Since(started)), Error: err.Error()}
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		m.Code = coded.Code() & 0xff
	}
	c.say(m)
}

// Observe reports what was taken over from the dead.
func (c *child) Observe(_ context.Context, n webhook.Notice) {
	if n.Kind == webhook.NoticeInterrupted {
		c.say(message{Kind: saidRescue, Key: n.Attempt.DeliveryID})
	}
}

func (c *child) untilIdle(ctx context.Context) error {
	for {
		stats, err := c.Stats(ctx, webhook.StatsQuery{AllTenants: true})
		if err == nil && stats.Pending == 0 {
			return nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "stats:", err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// say writes a message in one piece, so that a kill leaves it out or in.
func (c *child) say(m message) {
	line, err := json.Marshal(m)
	if err != nil {
		fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.out.Write(append(line, '\n')); err != nil {
		fatal(err)
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
