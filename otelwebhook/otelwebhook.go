// Package otelwebhook makes OpenTelemetry spans of what a webhook.Dispatcher does:
//
//	d, err := webhook.New(store, webhook.Config{Observer: otelwebhook.New(otelwebhook.Config{})})
//
// There are two kinds:
//
//   - "webhook send", kind producer, for each call of Send, SendBatch and SendTx, in the trace of the
//     caller's context. Its traceparent is stored with the event, as Event.TraceContext, unless the
//     caller gave one.
//   - "webhook attempt", kind client, for each request to a receiver, in a trace of its own with a link
//     to that traceparent. So the tenth attempt, three days later and in another process, still leads
//     to the request that caused it.
//
// A span of an attempt is made when its result is stored, with the times on record; what a client of
// your own reports of the same request is not below it. Nothing is sent to receivers: their traces are
// theirs, and yours are none of their business. Spans have no payloads, headers, secrets and query
// strings. Attributes of webhook's own begin with "webhook.".
//
// The package imports the OpenTelemetry API only. What becomes of the spans is your SDK's set-up.
package otelwebhook

import (
	"context"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/outhook/webhook"
)

// Config configures an Observer. The zero value is right.
type Config struct {
	// TracerProvider makes the spans. Default: otel.GetTracerProvider().
	TracerProvider trace.TracerProvider
}

// Observer is a webhook.SendObserver that makes spans. Make one with New.
type Observer struct {
	tracer trace.Tracer
}

var _ webhook.SendObserver = (*Observer)(nil)

// New returns an Observer for webhook.Config.
func New(cfg Config) *Observer {
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	return &Observer{tracer: cfg.TracerProvider.Tracer("github.com/outhook/webhook/otelwebhook")}
}

// ObserveSend begins the span of a send and puts its traceparent on the events that have none.
func (o *Observer) ObserveSend(ctx context.Context, events []webhook.Event) (context.Context, func([]webhook.Receipt, error)) {
	ctx, span := o.tracer.Start(ctx, "webhook send",
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(sendAttributes(events)...))
	parent := traceparent(ctx)
	for i := range events {
		if events[i].TraceContext == "" {
			events[i].TraceContext = parent
		}
	}
	return ctx, func(receipts []webhook.Receipt, err error) {
		defer span.End()
		if err != nil {
			span.RecordError(err)
			span.SetStatus(codes.Error, err.Error())
			return
		}
		span.SetAttributes(receiptAttributes(receipts)...)
	}
}

func sendAttributes(events []webhook.Event) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		attribute.String("messaging.system", "webhook"),
		attribute.Int("messaging.batch.message_count", len(events)),
	}
	if len(events) == 1 {
		attributes = append(attributes, eventAttributes(&events[0])...)
	}
	return attributes
}

func eventAttributes(e *webhook.Event) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("webhook.event.type", e.Type),
		attribute.String("webhook.tenant.id", e.TenantID),
	}
}

func receiptAttributes(receipts []webhook.Receipt) []attribute.KeyValue {
	deliveries := 0
	for _, r := range receipts {
		deliveries += len(r.DeliveryIDs)
	}
	attributes := []attribute.KeyValue{attribute.Int("webhook.deliveries", deliveries)}
	if len(receipts) == 1 {
		attributes = append(attributes,
			attribute.String("webhook.event.id", receipts[0].EventID),
			attribute.Bool("webhook.event.duplicate", receipts[0].Duplicate))
	}
	return attributes
}

// Observe makes the span of an attempt.
func (o *Observer) Observe(_ context.Context, n webhook.Notice) {
	if n.Kind != webhook.NoticeAttempt && n.Kind != webhook.NoticeInterrupted {
		return
	}
	a := n.Attempt
	options := []trace.SpanStartOption{
		trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(a.StartedAt),
		trace.WithAttributes(attemptAttributes(a)...),
	}
	if n.Event != nil {
		if cause := spanContext(n.Event.TraceContext); cause.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: cause}))
		}
	}
	_, span := o.tracer.Start(context.Background(), "webhook attempt", options...)
	defer span.End(trace.WithTimestamp(a.CompletedAt))
	if a.DeliveredAt != nil {
		span.AddEvent("request written", trace.WithTimestamp(*a.DeliveredAt))
	}
	if a.RespondedAt != nil {
		span.AddEvent("response received", trace.WithTimestamp(*a.RespondedAt))
	}
	if a.Status != webhook.AttemptSucceeded {
		span.SetStatus(codes.Error, string(a.ErrorCode))
	}
}

func attemptAttributes(a *webhook.DeliveryAttempt) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		attribute.String("webhook.event.id", a.EventID),
		attribute.String("webhook.event.type", a.EventType),
		attribute.String("webhook.tenant.id", a.TenantID),
		attribute.String("webhook.delivery.id", a.DeliveryID),
		attribute.String("webhook.endpoint.id", a.EndpointID),
		attribute.String("webhook.attempt.id", a.ID),
		attribute.Int("webhook.attempt.number", a.AttemptNumber),
		attribute.String("webhook.attempt.trigger", string(a.Trigger)),
		attribute.String("webhook.attempt.status", string(a.Status)),
		attribute.Int("http.request.resend_count", a.Resends),
		attribute.String("http.request.method", a.Method),
	}
	if u, err := url.Parse(a.URL); err == nil && u.Host != "" {
		attributes = append(attributes, attribute.String("server.address", u.Hostname()), attribute.String("url.scheme", u.Scheme))
	}
	if a.RemoteAddr != "" {
		attributes = append(attributes, attribute.String("network.peer.address", a.RemoteAddr))
	}
	if a.StatusCode != nil {
		attributes = append(attributes, attribute.Int("http.response.status_code", *a.StatusCode))
	}
	if a.ErrorCode != "" {
		attributes = append(attributes, attribute.String("error.type", string(a.ErrorCode)))
	}
	if a.Error != "" {
		attributes = append(attributes, attribute.String("webhook.attempt.error", a.Error))
	}
	return attributes
}

// traceparent is the W3C form of a context's span, "" if it has none.
func traceparent(ctx context.Context) string {
	carrier := propagation.HeaderCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// spanContext reads what traceparent wrote; what is not a traceparent is no span.
func spanContext(traceparent string) trace.SpanContext {
	carrier := propagation.HeaderCarrier{}
	carrier.Set("traceparent", traceparent)
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}
