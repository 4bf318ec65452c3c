package promwebhook_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/otelwebhook"
	"github.com/outhook/webhook/promwebhook"
	"github.com/outhook/webhook/store/memory"
)

func ExampleNew() {
	registry := prometheus.NewRegistry()
	metrics := promwebhook.New(promwebhook.Config{})
	registry.MustRegister(metrics)

	d, err := webhook.New(memory.New(), webhook.Config{
		Observer: webhook.Observers(metrics, otelwebhook.New(otelwebhook.Config{})), // or metrics alone
	})
	if err != nil {
		panic(err)
	}
	metrics.Watch(d) // gauges ask it at each scrape

	if _, err := d.Send(context.Background(), webhook.Event{Type: "order.created", Payload: []byte(`{}`)}); err != nil {
		panic(err)
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "webhook_events_sent_total") || strings.HasPrefix(line, "webhook_backlog") {
			fmt.Print(line)
		}
	}
	// Output:
	// webhook_backlog 0
	// webhook_events_sent_total 1
}
