// Quickstart sends a burst of webhooks and shows what became of each.
//
//	go run ./examples/quickstart
//
// Without flags it starts a receiver of its own on loopback, with one endpoint that works, one that
// fails twice before it works, and one that is always down. With -url it sends to yours:
//
//	go run ./examples/quickstart -url http://127.0.0.1:8080/hooks -secret whsec_… -events 20
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

type options struct {
	db     string
	url    string
	secret string
	events int
	tenant string
}

func main() {
	var o options
	flag.StringVar(&o.db, "db", "", "SQLite `file` (default: a new one in the temporary directory)")
	flag.StringVar(&o.url, "url", "", "send to this `URL` and start no receiver")
	flag.StringVar(&o.secret, "secret", "", "sign with this secret, `whsec_…` (with -url; default: a new one)")
	flag.IntVar(&o.events, "events", 20, "how `many` events to send")
	flag.Parse()

	// Ctrl-C stops waiting for retries; what is on record by then is shown.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.events < 1 {
		return errors.New("-events must be at least 1")
	}
	if o.secret != "" && o.url == "" {
		return errors.New("-secret goes with -url; the receiver started here makes its own")
	}
	if o.db == "" {
		dir, err := os.MkdirTemp("", "quickstart-")
		if err != nil {
			return err
		}
		o.db = filepath.Join(dir, "webhooks.db")
	}
	// A tenant has its own endpoints and events. Here each run is one, so that it finds nothing of an
	// earlier run in the same file.
	o.tenant = "quickstart-" + time.Now().Format("20060102-150405.000")

	if o.url != "" {
		if err := deliver(ctx, o, []webhook.Endpoint{o.endpoint()}); err != nil {
			return err
		}
	} else {
		receiver, err := startReceiver()
		if err != nil {
			return err
		}
		defer receiver.Close()
		if err := deliver(ctx, o, receiver.endpoints(o.tenant)); err != nil {
			return err
		}
		fmt.Printf("The receiver verified the signatures of %d requests and refused %d\n",
			receiver.verified.Load(), receiver.requests.Load()-receiver.verified.Load())
	}
	return report(context.WithoutCancel(ctx), o)
}

// endpoint is the user's own.
func (o options) endpoint() webhook.Endpoint {
	e := webhook.Endpoint{TenantID: o.tenant, URL: o.url, Description: "yours"}
	if o.secret != "" {
		e.Secrets = []webhook.Secret{{Value: o.secret}}
	}
	// Private addresses are refused, or customers could make this program call what only it can reach.
	// Who types a loopback address on the command line means it.
	if isLoopback(o.url) {
		e.AllowPrivate = webhook.Loopback
	}
	return e
}

func isLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
}

// deliver creates the endpoints, sends the events and waits until all is delivered or given up.
func deliver(ctx context.Context, o options, endpoints []webhook.Endpoint) (err error) {
	store, err := sqlite.Open(o.db)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := store.Close(); err == nil {
			err = closeErr
		}
	}()
	d, err := webhook.New(store, webhook.Config{
		// The default policy takes three days. This one gives up after four attempts.
		Retry: webhook.Schedule(500*time.Millisecond, time.Second, 2*time.Second),
	})
	if err != nil {
		return err
	}
	if err := createEndpoints(ctx, d, endpoints); err != nil {
		return err
	}

	runCtx, stopRun := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- d.Run(runCtx) }()

	err = sendEvents(ctx, d, o)
	if err == nil {
		err = watch(ctx, d, o.tenant)
	}
	stopRun() // Run lets attempts finish and writes their results
	if runErr := <-ended; err == nil {
		err = runErr
	}
	return err
}

func createEndpoints(ctx context.Context, d *webhook.Dispatcher, endpoints []webhook.Endpoint) error {
	fmt.Println("Endpoints")
	for _, e := range endpoints {
		made, err := d.CreateEndpoint(ctx, e)
		if err != nil {
			return err
		}
		fmt.Printf("  %s  %-8s %s\n", made.ID, made.Description, made.URL)
		if len(e.Secrets) == 0 { // the receiver needs the secret that was made
			fmt.Printf("  signed with %s\n", made.Secrets[0].Value)
		}
	}
	return nil
}

func sendEvents(ctx context.Context, d *webhook.Dispatcher, o options) error {
	start := time.Now()
	for n := 1; n <= o.events; n++ {
		_, err := d.Send(ctx, webhook.Event{
			TenantID: o.tenant,
			Type:     "order.created",
			Payload:  fmt.Appendf(nil, `{"order":%d}`, n),
			// Sending the same order again would change nothing.
			IdempotencyKey: fmt.Sprintf("order-%d", n),
		})
		if err != nil {
			return fmt.Errorf("event %d: %w", n, err)
		}
	}
	// Each Send returned when its event was on disk.
	fmt.Printf("\nStored %d events in %v\n", o.events, time.Since(start).Round(time.Millisecond))
	return nil
}
