package webhook_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/hostile"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/storetest"
)

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestOneDispatcherSurvivesEveryHostileReceiver(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lab := hostile.New(t)
	defer lab.Close()
	client, err := webhook.NewClient(webhook.ClientConfig{
		RootCAs: lab.Roots, Resolver: lab.DNS.Resolver(), AllowPrivate: webhook.Loopback})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	const wait = 10 * time.Minute
	store := memory.New()
	d, err := webhook.New(store, webhook.Config{HTTPClient: client, Retry: webhook.Schedule(wait), Logger: quiet()})
	require.NoError(t, err)

	modes := map[string]hostile.Mode{} // by endpoint
	for _, m := range hostile.Modes() {
		e := webhook.Endpoint{URL: lab.Start(m).URL, Timeout: 10 * time.Second}
		if m.Slow {
			e.Timeout = 3 * time.Second // a head must come in time, with all the others at once on a busy machine
		}
		made, err := d.CreateEndpoint(t.Context(), e)
		require.NoError(t, err, m.Name)
		modes[made.ID] = m
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	before := heap()
	receipt, err := d.Send(ctx, webhook.Event{Type: "a.b", Payload: []byte(`{"n":1}`)})
	require.NoError(t, err)
	require.Len(t, receipt.DeliveryIDs, len(modes))
	require.NoError(t, d.Idle(ctx))
	require.Less(t, heap()-before, int64(16<<20), "memory in use after all of them")
	stop()
	require.NoError(t, <-ended)

	for _, id := range receipt.DeliveryIDs {
		delivery, err := d.GetDelivery(t.Context(), id)
		require.NoError(t, err)
		checkMode(t, modes[delivery.EndpointID], delivery, wait)
	}
	storetest.CheckInvariants(t, store)
}

// checkMode compares a delivery with what a mode must come to after one attempt.
func checkMode(t *testing.T, m hostile.Mode, d webhook.Delivery, wait time.Duration) {
	t.Helper()
	require.Len(t, d.Attempts, 1, m.Name)
	a := d.Attempts[0]
	require.Equal(t, webhook.ErrorCode(m.Code), a.ErrorCode, "%s: %s", m.Name, a.Error)
	require.Equal(t, a.ErrorCode, d.LastErrorCode)
	if m.Status == 0 {
		require.Nil(t, a.StatusCode, m.Name)
	} else {
		require.Equal(t, m.Status, *a.StatusCode, m.Name)
	}
	switch a.ErrorCode {
	case "":
		require.Equal(t, webhook.StateSucceeded, d.State, m.Name)
		require.Nil(t, a.NextAttemptAt)
	case webhook.CodeEndpointGone:
		require.Equal(t, webhook.StateGone, d.State, m.Name)
	default:
		require.Equal(t, webhook.StateScheduled, d.State, m.Name)
		next := a.CompletedAt.Add(wait)
		if a.RetryAfterMS != nil {
			hint := a.CompletedAt.Add(time.Duration(*a.RetryAfterMS) * time.Millisecond)
			next = latest(next, hint)
		}
		require.Equal(t, next, *a.NextAttemptAt, m.Name)
		require.Equal(t, next, *d.NextRetryAt, m.Name)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
