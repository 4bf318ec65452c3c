package otelwebhook_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/otelwebhook"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/webhooktest"
)

// recorded returns an Observer and the spans that it makes.
func recorded() (*otelwebhook.Observer, *tracetest.SpanRecorder, *sdktrace.TracerProvider) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	return otelwebhook.New(otelwebhook.Config{TracerProvider: provider}), recorder, provider
}

func named(spans []sdktrace.ReadOnlySpan, name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range spans {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	return found
}

func attributes(s sdktrace.ReadOnlySpan) map[string]any {
	found := map[string]any{}
	for _, kv := range s.Attributes() {
		found[string(kv.Key)] = kv.Value.AsInterface()
	}
	return found
}

func TestAttemptsLinkToTheSendHoursLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		observer, recorder, provider := recorded()
		client := &webhooktest.Client{}
		client.Script(503)
		d := webhooktest.New(t, webhook.Config{Observer: observer, HTTPClient: client, Retry: webhook.Schedule(5 * time.Hour)})
		e, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{TenantID: "acme", URL: "https://a.example/hook?token=secret"})
		require.NoError(t, err)

		ctx, request := provider.Tracer("test").Start(t.Context(), "POST /orders")
		receipt, err := d.Send(ctx, webhook.Event{TenantID: "acme", Type: "order.created", Payload: []byte("{}")})
		require.NoError(t, err)
		request.End()
		client.Wait(t, 2)
		require.NoError(t, d.Idle(t.Context()))

		sends, attempts := named(recorder.Ended(), "webhook send"), named(recorder.Ended(), "webhook attempt")
		require.Len(t, sends, 1)
		send := sends[0]
		require.Equal(t, trace.SpanKindProducer, send.SpanKind())
		require.Equal(t, request.SpanContext().SpanID(), send.Parent().SpanID())
		require.Equal(t, receipt.EventID, attributes(send)["webhook.event.id"])
		require.EqualValues(t, 1, attributes(send)["webhook.deliveries"])
		require.Equal(t, codes.Unset, send.Status().Code)

		require.Len(t, attempts, 2)
		for i, a := range attempts {
			require.Equal(t, trace.SpanKindClient, a.SpanKind())
			require.False(t, a.Parent().IsValid())
			require.NotEqual(t, send.SpanContext().TraceID(), a.SpanContext().TraceID())
			require.Len(t, a.Links(), 1)
			require.Equal(t, send.SpanContext().TraceID(), a.Links()[0].SpanContext.TraceID())
			require.Equal(t, send.SpanContext().SpanID(), a.Links()[0].SpanContext.SpanID())
			got := attributes(a)
			require.EqualValues(t, i+1, got["webhook.attempt.number"])
			require.Equal(t, receipt.DeliveryIDs[0], got["webhook.delivery.id"])
			require.Equal(t, e.ID, got["webhook.endpoint.id"])
			require.Equal(t, "acme", got["webhook.tenant.id"])
			require.Equal(t, "a.example", got["server.address"])
			for key, value := range got {
				require.NotContains(t, fmt.Sprint(value), "secret", key)
			}
		}
		require.Equal(t, codes.Error, attempts[0].Status().Code)
		require.Equal(t, "BAD_RESPONSE", attributes(attempts[0])["error.type"])
		require.EqualValues(t, 503, attributes(attempts[0])["http.response.status_code"])
		require.Equal(t, codes.Unset, attempts[1].Status().Code)
		require.GreaterOrEqual(t, attempts[1].StartTime().Sub(attempts[0].StartTime()), 5*time.Hour)
		require.Contains(t, attempts[0].Attributes(), attribute.String("webhook.attempt.trigger", "initial"))
	})
}

// What Send stored, another process links to.
func TestLinkOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	receiver := webhooktest.NewReceiver(t)
	observer, recorder, _ := recorded()
	with := func(do func(d *webhook.Dispatcher)) {
		store, err := sqlite.Open(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		d, err := webhook.New(store, webhook.Config{Observer: observer, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		do(d)
	}
	with(func(d *webhook.Dispatcher) {
		_, err := d.CreateEndpoint(t.Context(), receiver.Endpoint())
		require.NoError(t, err)
		_, err = d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte("{}")})
		require.NoError(t, err)
	})
	send := named(recorder.Ended(), "webhook send")[0]
	with(func(d *webhook.Dispatcher) { require.NoError(t, d.RunOnce(t.Context())) })
	attempts := named(recorder.Ended(), "webhook attempt")
	require.Len(t, attempts, 1)
	require.Equal(t, send.SpanContext().SpanID(), attempts[0].Links()[0].SpanContext.SpanID())
	require.Len(t, attempts[0].Events(), 2)
	require.Contains(t, attributes(attempts[0]), "network.peer.address")
}

func TestTraceContextOfTheCallersStays(t *testing.T) {
	observer, recorder, _ := recorded()
	client := &webhooktest.Client{Timeout: 10 * time.Second}
	d := webhooktest.New(t, webhook.Config{Observer: observer, HTTPClient: client})
	_, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example/"})
	require.NoError(t, err)
	events := []webhook.Event{
		{Type: "a", Payload: []byte("{}"), TraceContext: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Type: "b", Payload: []byte("{}"), TraceContext: "nonsense"},
		{Type: "c", Payload: []byte("{}")},
	}
	_, err = d.SendBatch(t.Context(), events)
	require.NoError(t, err)
	require.Empty(t, events[2].TraceContext, "the caller's slice is the caller's")
	client.Wait(t, 3)
	require.NoError(t, d.Idle(t.Context()))

	send := named(recorder.Ended(), "webhook send")[0]
	require.EqualValues(t, 3, attributes(send)["messaging.batch.message_count"])
	links := map[any][]sdktrace.Link{}
	for _, a := range named(recorder.Ended(), "webhook attempt") {
		links[attributes(a)["webhook.event.type"]] = a.Links()
	}
	require.Equal(t, "b7ad6b7169203331", links["a"][0].SpanContext.SpanID().String())
	require.Empty(t, links["b"])
	require.Equal(t, send.SpanContext().SpanID(), links["c"][0].SpanContext.SpanID())
}

func TestFailedSend(t *testing.T) {
	observer, recorder, _ := recorded()
	d := webhooktest.New(t, webhook.Config{Observer: observer})
	_, err := d.Send(t.Context(), webhook.Event{Type: "not a type", Payload: []byte("{}")})
	require.ErrorIs(t, err, webhook.ErrInvalid)
	send := named(recorder.Ended(), "webhook send")[0]
	require.Equal(t, codes.Error, send.Status().Code)
	require.Contains(t, send.Status().Description, "Event.Type")
}

// An attempt that a crash cut off has no event at hand; it gets its span all the same.
func TestInterruptedAttempt(t *testing.T) {
	observer, recorder, _ := recorded()
	start := time.Now()
	observer.Observe(context.Background(), webhook.Notice{Kind: webhook.NoticeInterrupted, Attempt: &webhook.DeliveryAttempt{
		Status: webhook.AttemptInterrupted, ErrorCode: webhook.CodeInterrupted, StartedAt: start, CompletedAt: start.Add(time.Minute),
	}})
	observer.Observe(context.Background(), webhook.Notice{Kind: webhook.NoticeStoreFailing})
	spans := recorder.Ended()
	require.Len(t, spans, 1)
	require.Equal(t, codes.Error, spans[0].Status().Code)
	require.Equal(t, time.Minute, spans[0].EndTime().Sub(spans[0].StartTime()))
}
