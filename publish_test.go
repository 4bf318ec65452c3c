package webhook_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// OrderCreated is told to customers.
type OrderCreated struct {
	Number int      `json:"number"`
	Items  []string `json:"items"`
}

// EventType implements webhook.Typed.
func (OrderCreated) EventType() string { return "order.created" }

func ExamplePublish() {
	ctx, d := context.Background(), newDispatcher()

	receipt, err := webhook.Publish(ctx, d, OrderCreated{Number: 1, Items: []string{"tea"}},
		webhook.Event{TenantID: "acme", IdempotencyKey: "order-1-created"}) // or without
	check(err)

	event, err := d.GetEvent(ctx, receipt.EventID)
	check(err)
	fmt.Println(event.Type, string(event.Payload))
	// Output: order.created {"number":1,"items":["tea"]}
}

type unencodable struct{ C chan int }

func (*unencodable) EventType() string { return "a" }

type nameless struct{}

func (nameless) EventType() string { return "" }

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{TenantID: "acme", Match: map[string]string{"region": "eu"}})
		_, err := webhook.Publish(t.Context(), b.Dispatcher, OrderCreated{Number: 7},
			webhook.Event{TenantID: "acme", Attributes: map[string]string{"region": "eu"}})
		require.NoError(t, err)
		request := b.client.Next(t)
		require.Equal(t, `{"number":7,"items":null}`, string(request.Body))
		require.Equal(t, "application/json", request.Header.Get("Content-Type"))

		for name, err := range map[string]error{
			"two settings": second(webhook.Publish(t.Context(), b.Dispatcher, OrderCreated{}, webhook.Event{}, webhook.Event{})),
			"a type":       second(webhook.Publish(t.Context(), b.Dispatcher, OrderCreated{}, webhook.Event{Type: "b"})),
			"a payload":    second(webhook.Publish(t.Context(), b.Dispatcher, OrderCreated{}, webhook.Event{Payload: []byte("b")})),
			"a channel":    second(webhook.Publish(t.Context(), b.Dispatcher, &unencodable{})),
			"no type":      second(webhook.Publish(t.Context(), b.Dispatcher, nameless{})),
		} {
			require.ErrorIs(t, err, webhook.ErrInvalid, name)
		}
		require.Equal(t, 1, b.client.Count())
	})
}

func second[T any](_ T, err error) error { return err }
