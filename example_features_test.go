package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

// A thousand events cost one transaction, or are not stored at all.
func ExampleDispatcher_SendBatch() {
	ctx, d, _ := exampleEndpoint()

	receipts, err := d.SendBatch(ctx, []webhook.Event{
		{Type: "order.created", Payload: []byte(`{"order":1}`)},
		{Type: "order.paid", Payload: []byte(`{"order":1}`)},
	})
	check(err)
	fmt.Println(len(receipts), "events,", len(receipts[0].DeliveryIDs), "delivery each")

	_, err = d.SendBatch(ctx, []webhook.Event{
		{Type: "order.created", Payload: []byte(`{}`)},
		{Type: "not a type", Payload: []byte(`{}`)},
	})
	fmt.Println(err != nil)
	// Output:
	// 2 events, 1 delivery each
	// true
}

// An event may wait, and may come to be of no use.
func ExampleEvent() {
	ctx, d, endpointID := exampleEndpoint()
	tomorrow := time.Now().Add(24 * time.Hour)

	receipt, err := d.Send(ctx, webhook.Event{
		Type:        "sale.begins",
		Payload:     []byte(`{"percent":20}`),
		EndpointIDs: []string{endpointID},               // only to these; empty: to all that match
		Attributes:  map[string]string{"region": "eu"},  // for Endpoint.Match and DeliveryQuery.Attributes
		Headers:     map[string]string{"X-Shop": "tea"}, // sent with it
		DeliverAt:   tomorrow,
		ExpiresAt:   tomorrow.Add(time.Hour), // no attempt after that
	})
	check(err)
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State, delivery.DueAt.Equal(tomorrow.Truncate(time.Microsecond)), delivery.Attributes)
	// Output: scheduled true map[region:eu]
}

func ExampleDispatcher_Cancel() {
	ctx, d, _ := exampleEndpoint()
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`), DeliverAt: time.Now().Add(time.Hour)})
	check(err)

	check(d.Cancel(ctx, receipt.DeliveryIDs[0]))
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State, delivery.FailureCode)
	// Output: canceled CANCELLED
}

// Why did a customer not get it?
func ExampleDispatcher_Explain() {
	ctx, d := context.Background(), newDispatcher()
	_, err := d.CreateEndpoint(ctx, webhook.Endpoint{URL: "https://example.com/hooks", EventTypes: []string{"invoice.*"}})
	check(err)

	why, err := d.Explain(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	fmt.Println(why[0].Matches, why[0].Reason != "")
	// Output: false true
}

// What a customer wants forgotten is taken out of the record; that it was sent remains.
func ExampleDispatcher_EraseEvent() {
	ctx, d, _ := exampleEndpoint()
	receipt, err := d.Send(ctx, webhook.Event{Type: "user.created", Payload: []byte(`{"name":"Ada"}`)})
	check(err)

	check(d.EraseEvent(ctx, receipt.EventID))
	event, err := d.GetEvent(ctx, receipt.EventID)
	check(err)
	fmt.Println(len(event.Payload), event.Type)
	check(d.EraseTenant(ctx, "")) // everything of one customer
	// Output: 0 user.created
}

// An ordered endpoint gets one event after the other, however long one has to be tried.
func ExampleEndpoint_ordered() {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Println(string(body))
	}))
	defer receiver.Close()
	ctx, d := context.Background(), newDispatcher()
	_, err := d.CreateEndpoint(ctx, webhook.Endpoint{URL: receiver.URL, Ordered: true, AllowPrivate: webhook.Loopback})
	check(err)

	for number := range 3 {
		_, err := d.Send(ctx, webhook.Event{Type: "stock.changed", Payload: fmt.Append(nil, number)})
		check(err)
	}
	deliverAll(d)
	// Output:
	// 0
	// 1
	// 2
}

// Some receivers want a password too.
func ExampleBasicAuth() {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.BasicAuth())
	}))
	defer receiver.Close()
	ctx := context.Background()

	d, err := webhook.New(memory.New(), webhook.Config{
		Authenticators: map[string]webhook.Authenticator{"basic": webhook.BasicAuth{}}, // or one of yours
	})
	check(err)
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{
		URL: receiver.URL, AllowPrivate: webhook.Loopback,
		Auth: &webhook.Auth{Kind: "basic", Settings: map[string]string{"username": "shop", "password": "tea"}},
	})
	check(err)
	_, err = d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)
	// Output: shop tea true
}

// patient gives up at once when the receiver says that the request is wrong, and else never.
type patient struct{}

func (patient) Next(int) (time.Duration, bool) { return time.Millisecond, true }

// Decide is asked in place of Next, since there is one.
func (p patient) Decide(a webhook.DeliveryAttempt, failed int) (time.Duration, bool) {
	if a.StatusCode != nil && *a.StatusCode == http.StatusBadRequest {
		return 0, false
	}
	return p.Next(failed)
}

func ExampleRetryPolicy() {
	receiver := answering(500, 500, 500, 400)
	defer receiver.Close()
	ctx := context.Background()

	d, err := webhook.New(memory.New(), webhook.Config{Retry: patient{}})
	check(err)
	createEndpoint(d, receiver.URL)
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)
	delivery, err := d.GetDelivery(ctx, receipt.DeliveryIDs[0])
	check(err)
	fmt.Println(delivery.State, "after", delivery.AttemptCount)
	// Output: exhausted after 4
}

// A client of yours takes the place of the guarded one. Put a Guard under it if URLs come from strangers.
func ExampleHTTPClient() {
	receiver := answering()
	defer receiver.Close()
	ctx := context.Background()

	d, err := webhook.New(memory.New(), webhook.Config{HTTPClient: &http.Client{Timeout: 10 * time.Second}})
	check(err)
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{URL: receiver.URL})
	check(err)
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)
	attempts, err := d.ListAttempts(ctx, webhook.AttemptQuery{DeliveryID: receipt.DeliveryIDs[0]})
	check(err)
	fmt.Println(attempts[0].Status, *attempts[0].StatusCode)
	// Output: succeeded 200
}

// The operator hears by webhook what happens to the customers' endpoints.
func ExampleOperational() {
	gone := answering(410)
	defer gone.Close()
	operator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var told struct {
			Type string
			Data webhook.OperationalData
		}
		_ = json.NewDecoder(r.Body).Decode(&told)
		fmt.Println(told.Type, told.Data.TenantID, told.Data.Reason)
	}))
	defer operator.Close()
	ctx := context.Background()

	d, err := webhook.New(memory.New(), webhook.Config{
		Operational: &webhook.Operational{
			Tenant: func(string) string { return "operator" },
			Types:  []string{webhook.EndpointDisabledType},
		},
	})
	check(err)
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{
		TenantID: "operator", URL: operator.URL, EventTypes: []string{"webhook.*"}, AllowPrivate: webhook.Loopback,
	})
	check(err)
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{TenantID: "acme", URL: gone.URL, AllowPrivate: webhook.Loopback})
	check(err)
	_, err = d.Send(ctx, webhook.Event{TenantID: "acme", Type: "order.created", Payload: []byte(`{}`)})
	check(err)
	deliverAll(d)
	deliverAll(d)
	// Output: webhook.endpoint.disabled acme the receiver answered 410 Gone
}
