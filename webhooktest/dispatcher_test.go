package webhooktest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func TestNewWithReceiver(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	r.Answer(webhooktest.Answer{Status: 503, Body: "later"})
	d := webhooktest.New(t, webhook.Config{Retry: webhook.Schedule(time.Millisecond)})
	_, err := d.CreateEndpoint(t.Context(), r.Endpoint())
	require.NoError(t, err)
	receipt, err := d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte(`{"total":42}`)})
	require.NoError(t, err)

	first, second := r.Next(t), r.Next(t)
	require.Equal(t, receipt.EventID, first.ID)
	require.Equal(t, receipt.EventID, second.ID)
	require.Equal(t, 2, second.Attempt)
	require.Equal(t, `{"total":42}`, string(second.Body))
	require.NoError(t, d.Idle(t.Context()))
	delivery, err := d.GetDelivery(t.Context(), receipt.DeliveryIDs[0])
	require.NoError(t, err)
	require.Equal(t, webhook.StateSucceeded, delivery.State)
	require.Equal(t, "later", *delivery.Attempts[0].ResponseBodyPreview)
}

func TestNewAllowsLoopbackWithoutSayingSo(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	d := webhooktest.New(t, webhook.Config{})
	e, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: r.URL})
	require.NoError(t, err)
	r.Trust(e.Secrets[0].Value)
	_, err = d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte("{}")})
	require.NoError(t, err)
	r.Next(t)
}

func TestNewInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := webhook.NewSecret()
		client := &webhooktest.Client{Secrets: []string{secret.Value}}
		client.Script(500, 500)
		client.Answer(webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"7200"}}}, webhooktest.Answer{Reset: true})
		d := webhooktest.New(t, webhook.Config{HTTPClient: client, Retry: webhook.Schedule(time.Hour, time.Hour, time.Hour, time.Hour)})
		_, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example/hook", Secrets: []webhook.Secret{secret}})
		require.NoError(t, err)
		_, err = d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte("{}")})
		require.NoError(t, err)

		requests := client.Wait(t, 5) // hours pass at once
		for i, want := range []time.Duration{time.Hour, time.Hour, 2 * time.Hour, time.Hour} {
			require.WithinDuration(t, requests[i].At.Add(want), requests[i+1].At, 2*time.Second)
			require.NoError(t, requests[i].Err)
		}
	})
}

func TestNewEndsWithAHangingReceiver(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	r.Answer(webhooktest.Answer{Hang: true})
	d := webhooktest.New(t, webhook.Config{DrainTimeout: 10 * time.Millisecond})
	_, err := d.CreateEndpoint(t.Context(), r.Endpoint())
	require.NoError(t, err)
	_, err = d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte("{}")})
	require.NoError(t, err)
	r.Next(t)
}
