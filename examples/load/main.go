// Load sends many events through a SQLite file to endpoints on loopback, and then counts: every event
// must be on record and have arrived exactly once at each endpoint that subscribes to it, and memory
// must not have grown on the way.
//
//	go run ./examples/load -events 100000 -endpoints 10
//
// It prints rates. The receiver runs in the same process, so they are for sender and receiver together.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

// plan says what is sent and where it must arrive: event n has type n modulo endpoints, and each
// endpoint subscribes to as many types as there are endpoints to match an event.
type plan struct {
	events    int
	endpoints int
	matching  int
	senders   int
	payload   int
	db        string
}

func (p plan) deliveries() int { return p.events * p.matching }

func (p plan) eventType(n int) string { return fmt.Sprintf("load.type%d", n%p.endpoints) }

// matches reports whether event n must arrive at an endpoint.
func (p plan) matches(n, endpoint int) bool {
	return (n%p.endpoints-endpoint+p.endpoints)%p.endpoints < p.matching
}

func main() {
	var p plan
	flag.IntVar(&p.events, "events", 100_000, "how `many` events to send")
	flag.IntVar(&p.endpoints, "endpoints", 10, "how `many` endpoints there are")
	flag.IntVar(&p.matching, "matching", 0, "how `many` of the endpoints match each event (default: all)")
	flag.IntVar(&p.senders, "senders", 64, "how `many` goroutines send")
	flag.IntVar(&p.payload, "payload", 256, "`bytes` of each payload")
	flag.StringVar(&p.db, "db", "", "SQLite `file`, kept; it must not exist (default: a temporary one, removed)")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan) error {
	if p.matching == 0 {
		p.matching = p.endpoints
	}
	if p.events < 1 || p.endpoints < 1 || p.endpoints > maxEndpoints || p.senders < 1 || p.payload < 32 ||
		p.matching < 1 || p.matching > p.endpoints {
		return fmt.Errorf("give at least 1 event, 1 to %d endpoints, at most as many matching, 1 sender and 32 bytes", maxEndpoints)
	}
	if p.db == "" {
		dir, err := os.MkdirTemp("", "load-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		p.db = filepath.Join(dir, "webhooks.db")
	} else if _, err := os.Stat(p.db); err == nil {
		return fmt.Errorf("%s exists; give -db a new file, or what is in it is counted too", p.db)
	}
	receiver, err := startReceiver(p)
	if err != nil {
		return err
	}
	defer receiver.Close()
	if err := deliver(ctx, p, receiver); err != nil {
		return err
	}
	return receiver.check()
}

// deliver sends everything, waits for it, and counts what the file holds.
func deliver(ctx context.Context, p plan, receiver *receiver) (err error) {
	store, err := sqlite.Open(p.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		return err
	}
	for _, e := range receiver.endpoints() {
		if _, err := d.CreateEndpoint(ctx, e); err != nil {
			return err
		}
	}

	runCtx, stopRun := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(runCtx) }()
	err = sendAndWatch(ctx, p, d, receiver)
	stopRun()
	if err = errors.Join(err, <-ended); err != nil {
		return err
	}
	return checkStore(ctx, p, d)
}

func sendAndWatch(ctx context.Context, p plan, d *webhook.Dispatcher, receiver *receiver) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	memory := startSampling(p.deliveries())
	start := time.Now()
	go func() {
		if err := send(ctx, p, d); err != nil {
			cancel(err)
			return
		}
		printRate("stored", p.events, "events", time.Since(start))
	}()
	if err := watch(ctx, p, receiver, memory); err != nil {
		return err
	}
	// The last requests have arrived; their results are yet to be written.
	if err := d.Idle(ctx); err != nil {
		return err
	}
	printRate("delivered", p.deliveries(), "deliveries", time.Since(start))
	return memory.check()
}

// send sends events 0 to p.events from several goroutines, as a service would.
func send(ctx context.Context, p plan, d *webhook.Dispatcher) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var senders sync.WaitGroup
	for range p.senders {
		senders.Go(func() {
			for n := int(next.Add(1)) - 1; n < p.events && ctx.Err() == nil; n = int(next.Add(1)) - 1 {
				event := webhook.Event{Type: p.eventType(n), Payload: payload(n, p.payload)}
				receipt, err := d.Send(ctx, event)
				if err == nil && len(receipt.DeliveryIDs) != p.matching {
					err = fmt.Errorf("has %d deliveries, not %d", len(receipt.DeliveryIDs), p.matching)
				}
				if err != nil {
					cancel(fmt.Errorf("event %d: %w", n, err))
				}
			}
		})
	}
	senders.Wait()
	return context.Cause(ctx)
}

func payload(n, size int) []byte {
	b := fmt.Appendf(make([]byte, 0, size), `{"n":%d,"fill":"`, n)
	for len(b) < size-2 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}

// watch waits until everything has arrived. It fails when nothing arrives for a minute.
func watch(ctx context.Context, p plan, receiver *receiver, memory *sampling) error {
	const patience = time.Minute
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	arrived, moved, shown := 0, time.Now(), time.Now()
	for arrived < p.deliveries() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		n, err := receiver.arrived()
		if err != nil {
			return err
		}
		if n > arrived {
			arrived, moved = n, time.Now()
		}
		memory.sampleAt(arrived)
		if time.Since(shown) > time.Second {
			shown = time.Now()
			fmt.Printf("%d of %d have arrived; heap %s\n", arrived, p.deliveries(), mebibytes(memory.last()))
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("%d of %d arrived, and none in the last %v", arrived, p.deliveries(), patience)
		}
	}
	return nil
}

func printRate(did string, n int, what string, took time.Duration) {
	fmt.Printf("%s %d %s in %.1fs: %.0f a second\n", did, n, what, took.Seconds(), float64(n)/took.Seconds())
}
