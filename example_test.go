package webhook_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

// Most of what stands here the README prints. TestReadme sees to it that they stay the same.

func TestOrderCreated(t *testing.T) {
	receiver := webhooktest.NewReceiver(t) // a server on loopback; a bad signature fails the test
	d, err := webhook.New(memory.New(), webhook.Config{})
	require.NoError(t, err)
	_, err = d.CreateEndpoint(t.Context(), receiver.Endpoint())
	require.NoError(t, err)
	_, err = d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte(`{"order":1}`)})
	require.NoError(t, err)
	require.NoError(t, d.RunOnce(t.Context()))
	require.Equal(t, `{"order":1}`, string(receiver.Next(t).Body))
}

func ExampleDispatcher_CreateEndpoint() {
	ctx, d := context.Background(), newDispatcher()

	endpoint, err := d.CreateEndpoint(ctx, webhook.Endpoint{
		TenantID:   "acme", // your customer
		URL:        "https://example.com/hooks",
		EventTypes: []string{"order.*", "invoice.paid"}, // empty: all
		Match:      map[string]string{"region": "eu"},   // attributes that an event must have
		RateLimit:  20,                                  // attempts a second
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(endpoint.State, endpoint.Secrets[0]) // show Secrets[0].Value to the customer

	// Output: enabled whsec_****
}

func ExampleDispatcher_UpdateEndpoint() {
	ctx, d, endpointID := exampleEndpoint()

	endpoint, err := d.UpdateEndpoint(ctx, endpointID, func(e *webhook.Endpoint) error {
		e.URL = "https://example.com/v2/hooks"
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(endpoint.URL)

	// Output: https://example.com/v2/hooks
}

func ExampleDispatcher_PauseEndpoint() {
	ctx, d, endpointID := exampleEndpoint()
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)

	check(d.PauseEndpoint(ctx, endpointID)) // from now on no attempt begins; what comes is held
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State)

	check(d.UnpauseEndpoint(ctx, endpointID)) // what was held goes out
	delivery, err = d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State)

	// Output:
	// held
	// queued
}

func ExampleDispatcher_RotateSecret() {
	ctx, d, endpointID := exampleEndpoint()

	fresh, err := d.RotateSecret(ctx, endpointID, 48*time.Hour) // both sign until then
	check(err)
	endpoint, err := d.GetEndpoint(ctx, endpointID)
	check(err)
	fmt.Println(len(endpoint.Secrets), "secrets, the new one first:", endpoint.Secrets[0].Value == fresh.Value)

	// Output: 2 secrets, the new one first: true
}

func ExampleDispatcher_Send() {
	ctx, d, _ := exampleEndpoint()

	order := webhook.Event{
		Type:           "order.created",
		Payload:        []byte(`{"order":1}`),
		IdempotencyKey: "order-1-created",
	}
	first, err := d.Send(ctx, order)
	check(err)
	again, err := d.Send(ctx, order) // after a timeout, say
	check(err)
	fmt.Println(again.EventID == first.EventID, again.Duplicate)

	order.Payload = []byte(`{"order":2}`)
	_, err = d.Send(ctx, order)
	fmt.Println(err)

	// Output:
	// true true
	// webhook: conflict: event 0 has an IdempotencyKey that stands for another type or payload
}

func ExampleDispatcher_Run() {
	receiver := answering()
	defer receiver.Close()
	d := newDispatcher()
	sendOrders := func(d *webhook.Dispatcher) {
		createEndpoint(d, receiver.URL)
		for n := range 3 {
			_, err := d.Send(context.Background(), webhook.Event{Type: "order.created", Payload: fmt.Append(nil, n)})
			check(err)
		}
		check(d.Idle(context.Background()))
	}

	ctx, stop := context.WithCancel(context.Background()) // or signal.NotifyContext
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()

	sendOrders(d) // your program

	stop() // no further attempt begins, those under way finish
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// All results are written: close the store now.

	fmt.Println("delivered")
	// Output: delivered
}

// retryFailed tries again what has failed for a tenant, and shows why it had.
func retryFailed(ctx context.Context, d *webhook.Dispatcher, tenantID string) error {
	query := webhook.DeliveryQuery{TenantID: tenantID, Status: webhook.StatusFailed}
	for item, err := range d.Deliveries(ctx, query) { // ListDeliveries returns one page
		if err != nil {
			return err
		}
		delivery, err := d.GetDelivery(ctx, item.ID) // with event, payload and all attempts
		if err != nil {
			return err
		}
		for _, a := range delivery.Attempts {
			fmt.Println(a.AttemptNumber, a.Trigger, a.Status, a.ErrorCode)
		}
		if err := d.Retry(ctx, item.ID); err != nil {
			return err
		}
	}
	return nil
}

func ExampleDispatcher_Retry() {
	receiver := answering(500, 503)
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	createEndpoint(d, receiver.URL)
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)

	check(retryFailed(ctx, d, ""))
	deliverAll(d)
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State, "by attempt", delivery.AttemptCount, delivery.Attempts[2].Trigger)

	// Output:
	// 1 initial failed BAD_RESPONSE
	// 2 automatic failed BAD_RESPONSE
	// succeeded by attempt 3 manual
}

// retrySince tries again everything that an endpoint did not get since a time, 50 a second.
func retrySince(ctx context.Context, d *webhook.Dispatcher, endpointID string, since time.Time) error {
	failed := webhook.DeliveryQuery{EndpointID: endpointID, FinishedSince: since}
	count, err := d.BulkRetry(ctx, failed, webhook.BulkRetryOptions{DryRun: true})
	if err != nil {
		return err
	}
	fmt.Println("failed:", count.Matched)
	_, err = d.BulkRetry(ctx, failed, webhook.BulkRetryOptions{Rate: 50})
	return err // GetBulkRetry shows how far it is, CancelBulkRetry stops it
}

func ExampleDispatcher_BulkRetry() {
	receiver := answering(500, 500, 500, 500)
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	endpointID := createEndpoint(d, receiver.URL)
	since := time.Now().Add(-time.Hour)
	for range 2 {
		_, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
		check(err)
	}
	deliverAll(d)

	check(retrySince(ctx, d, endpointID, since))
	deliverAll(d)
	stats, err := d.Stats(ctx, webhook.StatsQuery{EndpointID: endpointID})
	check(err)
	fmt.Println("succeeded:", stats.Succeeded)

	// Output:
	// failed: 2
	// succeeded: 2
}

func ExampleDispatcher_Replay() {
	receiver := answering()
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	fmt.Println(len(receipt.DeliveryIDs), "deliveries")

	createEndpoint(d, receiver.URL) // made too late for the event
	receipt, err = d.Replay(ctx, receipt.EventID)
	check(err)
	deliverAll(d)
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State)

	// Output:
	// 0 deliveries
	// succeeded
}

func ExampleDispatcher_PingEndpoint() {
	receiver := answering()
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	receipt, err := d.PingEndpoint(ctx, createEndpoint(d, receiver.URL))
	check(err)
	deliverAll(d)
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.EventType, delivery.State)

	// Output:
	// webhook.ping succeeded
}

func ExampleDispatcher_ListDeliveries() {
	receiver := answering()
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	createEndpoint(d, receiver.URL)
	for n := range 5 {
		_, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: fmt.Append(nil, n)})
		check(err)
	}
	deliverAll(d)

	query := webhook.DeliveryQuery{EventType: "order.created", Limit: 2}
	for {
		page, err := d.ListDeliveries(ctx, query) // newest first
		check(err)
		if len(page) == 0 {
			break
		}
		fmt.Println(len(page), page[0].State, *page[0].LastAttempt.ResponseStatus)
		query.After = page[len(page)-1].ID
	}

	// Output:
	// 2 succeeded 200
	// 2 succeeded 200
	// 1 succeeded 200
}

func ExampleDispatcher_Stats() {
	receiver := answering(410)
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	createEndpoint(d, receiver.URL)
	_, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)

	stats, err := d.Stats(ctx, webhook.StatsQuery{AllTenants: true})
	check(err)
	fmt.Println("pending", stats.Pending, "succeeded", stats.Succeeded, "gone", stats.Gone)

	// Output: pending 0 succeeded 0 gone 1
}

func ExampleDispatcher_Health() {
	d := newDispatcher()

	ready := func(w http.ResponseWriter, r *http.Request) {
		if err := d.Health(r.Context()); err != nil {
			http.Error(w, "webhooks: the store fails", http.StatusServiceUnavailable) // the log has err
			return
		}
		fmt.Fprintln(w, "ready")
	}

	answer := httptest.NewRecorder()
	ready(answer, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Println(answer.Code)
	// Output: 200
}

// alarm is an Observer that says what a person should look at.
type alarm struct{}

func (alarm) Observe(_ context.Context, n webhook.Notice) {
	switch n.Kind {
	case webhook.NoticeExhausted:
		fmt.Println("given up:", n.Event.Type, "after", n.Delivery.AttemptCount, "attempts, the last", n.Attempt.ErrorCode)
	case webhook.NoticeEndpointDisabled:
		fmt.Println("disabled:", n.Endpoint.DisabledReason)
	}
}

func ExampleObserver() {
	receiver := answering(500, 500, 410)
	defer receiver.Close()
	d, err := webhook.New(memory.New(), webhook.Config{Observer: alarm{}, Retry: webhook.Schedule(time.Millisecond)})
	check(err)
	createEndpoint(d, receiver.URL)
	for range 2 {
		_, err := d.Send(context.Background(), webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
		check(err)
		deliverAll(d)
	}
	// Output:
	// given up: order.created after 2 attempts, the last BAD_RESPONSE
	// disabled: the receiver answered 410 Gone
}

func ExampleSchedule() {
	policy := webhook.Schedule(time.Second, time.Minute, time.Hour)

	for failed := 1; ; failed++ {
		wait, again := policy.Next(failed)
		if !again {
			break
		}
		fmt.Println("after failure", failed, "wait", wait)
	}
	// Output:
	// after failure 1 wait 1s
	// after failure 2 wait 1m0s
	// after failure 3 wait 1h0m0s
}

func ExampleExponential() {
	store := memory.New()

	d, err := webhook.New(store, webhook.Config{
		Retry: webhook.Exponential(time.Second, time.Hour, 15), // 1 s, 2 s, 4 s … 1 h, each ±50 %
	})
	if err != nil {
		log.Fatal(err)
	}

	_, err = d.CreateEndpoint(context.Background(), webhook.Endpoint{
		URL:   "https://example.com/hooks",
		Retry: []time.Duration{time.Minute, time.Hour}, // this one: three attempts, ±20 %
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
}

func ExampleNewAESSealer() {
	key := make([]byte, 32) // yours comes from where the database's backups do not go
	_, _ = rand.Read(key)

	sealer, err := webhook.NewAESSealer(key)
	if err != nil {
		log.Fatal(err)
	}
	d, err := webhook.New(memory.New(), webhook.Config{Sealer: sealer})
	if err != nil {
		log.Fatal(err)
	}

	endpoint, err := d.CreateEndpoint(context.Background(), webhook.Endpoint{URL: "https://example.com/hooks"})
	check(err)
	fmt.Println(endpoint.Secrets[0]) // Value is there; the store has only its sealed form
	// Output: whsec_****
}

// newDispatcher gives up after two attempts, quickly.
func newDispatcher() *webhook.Dispatcher {
	d, err := webhook.New(memory.New(), webhook.Config{Retry: webhook.Schedule(time.Millisecond)})
	check(err)
	return d
}

func exampleEndpoint() (context.Context, *webhook.Dispatcher, string) {
	d := newDispatcher()
	return context.Background(), d, createEndpoint(d, "https://example.com/hooks")
}

func createEndpoint(d *webhook.Dispatcher, url string) string {
	e, err := d.CreateEndpoint(context.Background(), webhook.Endpoint{URL: url, AllowPrivate: webhook.Loopback})
	check(err)
	return e.ID
}

// deliverAll delivers until nothing is pending.
func deliverAll(d *webhook.Dispatcher) {
	for {
		check(d.RunOnce(context.Background()))
		stats, err := d.Stats(context.Background(), webhook.StatsQuery{AllTenants: true})
		check(err)
		if stats.Pending == 0 {
			return
		}
	}
}

// answering is a receiver that answers as told, and then 200.
func answering(statuses ...int) *httptest.Server {
	var mu sync.Mutex
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if len(statuses) > 0 {
			w.WriteHeader(statuses[0])
			statuses = statuses[1:]
		}
	}))
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}
