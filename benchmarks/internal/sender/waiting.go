package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/store/sqlite"
)

// Deliveries wait at endpoints with a rate limit, where they are due and few of them can be sent; beside them is an
// endpoint that takes all.
const (
	waitingEndpoints = 100
	waitingRate      = 1 // a second, of each
	waitingCallers   = 32
)

// waiting tells what deliveries that wait cost a process. Params: "fill" stores so many and does no more; "pages"
// asks for so many pages of lists; else it delivers for task.Measure, and says how much memory that took.
func waiting(ctx context.Context, task *load.Task) (r load.Result, err error) {
	began := time.Now()
	st, err := sqlite.Open(filepath.Join(task.Dir, "webhooks.db"))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	d, err := webhook.New(st, webhook.Config{Logger: errorsOnly()})
	if err != nil {
		return r, err
	}
	if n, ok := task.Params["fill"]; ok {
		return r, fillWaiting(ctx, d, task, n)
	}
	endpoints, err := d.ListEndpoints(ctx, webhook.EndpointQuery{AllTenants: true, Limit: 500})
	if err != nil {
		return r, err
	}
	r.Figures = map[string]float64{"open_ms": time.Since(began).Seconds() * 1e3}
	if n := task.Params["pages"]; n > 0 {
		r.Figures["page_p99_ms"], err = pages(ctx, d, endpoints, n)
		return r, err
	}
	if err = deliverBeside(ctx, d, endpoints, task.Measure); err != nil {
		return r, err
	}
	r.Figures["peak_mib"], err = peakMemory()
	return r, err
}

func fillWaiting(ctx context.Context, d *webhook.Dispatcher, task *load.Task, n int) error {
	var ids []string
	for range waitingEndpoints {
		e := endpointAt(task, "/slow")
		e.RateLimit = waitingRate
		e, err := d.CreateEndpoint(ctx, e)
		if err != nil {
			return err
		}
		ids = append(ids, e.ID)
	}
	if _, err := d.CreateEndpoint(ctx, endpointAt(task, "/hook")); err != nil {
		return err
	}
	for done := 0; done < n; {
		events := make([]webhook.Event, min(1000, n-done))
		for i := range events {
			to := done % len(ids)
			events[i] = webhook.Event{
				Type: fmt.Sprintf("order.type%d", done%7), Payload: load.Payload(done, true), EndpointIDs: ids[to : to+1],
			}
			done++
		}
		if _, err := d.SendBatch(ctx, events); err != nil {
			return err
		}
	}
	return nil
}

// pages asks for pages at random places of different lists and returns the 99th percentile in milliseconds.
func pages(ctx context.Context, d *webhook.Dispatcher, endpoints []webhook.Endpoint, n int) (float64, error) {
	var places []string
	for q := (webhook.DeliveryQuery{AllTenants: true, Limit: 500}); ; {
		items, err := d.ListDeliveries(ctx, q)
		if err != nil {
			return 0, err
		}
		if len(items) == 0 {
			break
		}
		q.After = items[len(items)-1].ID
		places = append(places, items[0].ID)
	}
	var took []time.Duration
	for i := range n {
		q := webhook.DeliveryQuery{AllTenants: true, After: places[rand.N(len(places))]}
		switch i % 5 {
		case 1:
			q.Status = webhook.StatusPending
		case 2:
			q.EndpointID = endpoints[rand.N(len(endpoints))].ID
		case 3:
			q.EventType = fmt.Sprintf("order.type%d", rand.N(7))
		case 4:
			q.After = ""
			q.States = []webhook.DeliveryState{webhook.StateQueued}
		}
		began := time.Now()
		if _, err := d.ListDeliveries(ctx, q); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return load.Percentile(took, 99).Seconds() * 1e3, nil
}

// deliverBeside delivers what waits, as far as it may, and what callers send to the endpoint that takes all.
func deliverBeside(ctx context.Context, d *webhook.Dispatcher, endpoints []webhook.Endpoint, long time.Duration) error {
	at := slices.IndexFunc(endpoints, func(e webhook.Endpoint) bool { return e.RateLimit == 0 })
	if at < 0 {
		return errors.New("the store was not filled")
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running) }()
	end := time.Now().Add(long)
	var callers sync.WaitGroup
	failures := make([]error, waitingCallers)
	for i := range failures {
		callers.Go(func() {
			for n := 0; time.Now().Before(end) && failures[i] == nil; n++ {
				_, failures[i] = d.Send(ctx, webhook.Event{
					Type: "order.created", Payload: load.Payload(n, true), EndpointIDs: []string{endpoints[at].ID},
				})
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	callers.Wait()
	stop()
	return errors.Join(append(failures, <-ended)...)
}

// peakMemory is the largest resident set that this process had, in MiB.
func peakMemory() (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("peak memory, which needs Linux: %w", err)
	}
	_, after, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0, errors.New("/proc/self/status has no VmHWM")
	}
	kib, err := strconv.ParseFloat(string(bytes.Fields(after)[0]), 64)
	return kib / 1024, err
}
