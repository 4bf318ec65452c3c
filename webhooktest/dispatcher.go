package webhooktest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

// New returns a dispatcher over a memory store of its own that runs until the test ends, with these
// endpoints, endpoints on loopback allowed and its log in the test's output. Attempts under way then have
// Config.DrainTimeout to finish, here 1 s by default: release what hangs. Inside a synctest bubble give
// it a [Client] as Config.HTTPClient.
func New(t testing.TB, cfg webhook.Config, endpoints ...webhook.Endpoint) *webhook.Dispatcher {
	t.Helper()
	if cfg.HTTPClient == nil {
		client, err := webhook.NewClient(webhook.ClientConfig{AllowPrivate: webhook.Loopback})
		if err != nil {
			t.Fatalf("webhooktest: %v", err)
		}
		t.Cleanup(client.CloseIdleConnections)
		cfg.HTTPClient = client
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = time.Second
	}
	d, err := webhook.New(memory.New(), cfg)
	if err != nil {
		t.Fatalf("webhooktest: %v", err)
	}
	for _, e := range endpoints {
		if _, err := d.CreateEndpoint(t.Context(), e); err != nil {
			t.Fatalf("webhooktest: %v", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("webhooktest: Run: %v", err)
		}
	})
	return d
}
