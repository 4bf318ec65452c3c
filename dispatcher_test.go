package webhook_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/storetest"
	"github.com/outhook/webhook/webhooktest"
)

// bench is a dispatcher over a memory store with a scripted client, running in a synctest bubble.
type bench struct {
	*webhook.Dispatcher
	t      *testing.T
	store  *memory.Store
	client *webhooktest.Client
	stop   func()
}

func start(t *testing.T, cfg webhook.Config) *bench {
	b := prepare(t, cfg)
	b.run()
	return b
}

func prepare(t *testing.T, cfg webhook.Config) *bench {
	b := &bench{t: t, store: memory.New(), client: &webhooktest.Client{}}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = b.client
	}
	d, err := webhook.New(b.store, cfg)
	require.NoError(t, err)
	b.Dispatcher = d
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
		storetest.CheckInvariants(t, b.store)
	})
	return b
}

func (b *bench) run() {
	stop := running(b.t, b.Dispatcher)
	synctest.Wait()
	b.stop = func() {
		stop()
		b.stop = nil
	}
}

// running runs a dispatcher until it is stopped.
func running(t *testing.T, d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func (b *bench) endpoint(e webhook.Endpoint) webhook.Endpoint {
	if e.URL == "" {
		e.URL = "https://receiver.example/hook"
	}
	made, err := b.CreateEndpoint(b.t.Context(), e)
	require.NoError(b.t, err)
	return made
}

func (b *bench) send(e webhook.Event) webhook.Receipt {
	if e.Type == "" {
		e.Type = "order.created"
	}
	if e.Payload == nil {
		e.Payload = []byte(`{"n":1}`)
	}
	r, err := b.Send(b.t.Context(), e)
	require.NoError(b.t, err)
	return r
}

func (b *bench) delivery(id string) webhook.Delivery {
	synctest.Wait()
	d, err := b.GetDelivery(b.t.Context(), id)
	require.NoError(b.t, err)
	return d
}
