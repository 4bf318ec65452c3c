package webhooktest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// placeOrder stands for the code of yours that is tested.
func placeOrder(d *webhook.Dispatcher, number int) {
	event := webhook.Event{Type: "order.created", Payload: fmt.Appendf(nil, `{"order":%d}`, number)}
	if _, err := d.Send(context.Background(), event); err != nil {
		panic(err)
	}
}

func TestPlaceOrderTellsTheCustomer(t *testing.T) {
	receiver := webhooktest.NewReceiver(t)                         // verifies every signature
	d := webhooktest.New(t, webhook.Config{}, receiver.Endpoint()) // is running, until the test ends
	placeOrder(d, 7)
	receiver.Next(t).RequireJSON(t, `{"order":7}`)
}

func TestThreeDaysInNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &webhooktest.Client{}
		client.Script(500, 503) // then 200
		d := webhooktest.New(t, webhook.Config{HTTPClient: client}, webhook.Endpoint{URL: "https://example.com/"})
		placeOrder(d, 7)
		requests := client.Wait(t, 3) // five seconds and five minutes later
		require.Greater(t, requests[2].At.Sub(requests[0].At), 4*time.Minute)
	})
}

func TestReceiverThatMisbehaves(t *testing.T) {
	receiver := webhooktest.NewReceiver(t)
	receiver.Answer(
		webhooktest.Answer{Reset: true}, // instead of a status line
		webhooktest.Answer{Status: 500, Body: "try later"},
		webhooktest.Answer{Body: "never ends", BodyDelay: time.Hour}, // a success, by its status line
	)
	d := webhooktest.New(t, webhook.Config{
		Retry:          webhook.Schedule(time.Millisecond, time.Millisecond),
		AttemptTimeout: 200 * time.Millisecond,
	}, receiver.Endpoint())
	placeOrder(d, 7)
	placeOrder(d, 8)
	receiver.Wait(t, 4)
	receiver.Find(t, func(r webhooktest.Request) bool { return r.Attempt == 2 })
	receiver.Exactly(t, d, 4)
}
