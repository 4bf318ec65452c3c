package otelwebhook_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/otelwebhook"
	"github.com/outhook/webhook/store/memory"
)

func ExampleNew() {
	recorder := tracetest.NewSpanRecorder() // yours is an exporter
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))

	d, err := webhook.New(memory.New(), webhook.Config{
		Observer: otelwebhook.New(otelwebhook.Config{TracerProvider: provider}), // without it, the global one
	})
	if err != nil {
		panic(err)
	}
	_, err = d.Send(context.Background(), webhook.Event{Type: "order.created", Payload: []byte(`{}`)})
	if err != nil {
		panic(err)
	}
	for _, span := range recorder.Ended() {
		fmt.Println(span.Name(), span.SpanKind())
	}
	// Output: webhook send producer
}
