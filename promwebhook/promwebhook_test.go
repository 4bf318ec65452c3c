package promwebhook_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/promwebhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

func register(t *testing.T, m *promwebhook.Metrics) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	return registry
}

// series returns all values by name and labels, histograms by their counts.
func series(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	families, err := registry.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			found[family.GetName()+labels(m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return found
}

func labels(m *dto.Metric) string {
	var parts []string
	for _, l := range m.Label {
		parts = append(parts, l.GetName()+"="+l.GetValue())
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := promwebhook.New(promwebhook.Config{})
		registry := register(t, m)
		require.Equal(t, 0.0, series(t, registry)["webhook_stats_up{}"], "nothing is watched yet")

		client := &webhooktest.Client{}
		client.Script(503)
		client.Answer(webhooktest.Answer{Err: webhooktest.ErrTimeout})
		d := webhooktest.New(t, webhook.Config{Observer: m, HTTPClient: client, Retry: webhook.Schedule(time.Hour, time.Hour)})
		m.Watch(d)
		_, err := d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example/"})
		require.NoError(t, err)
		event := webhook.Event{Type: "order.created", Payload: []byte("{}"), IdempotencyKey: "1"}
		for range 2 {
			_, err = d.Send(t.Context(), event)
			require.NoError(t, err)
		}
		_, err = d.Send(t.Context(), webhook.Event{Type: "bad type", Payload: []byte("{}")})
		require.Error(t, err)
		synctest.Wait()
		got := series(t, registry)
		require.Equal(t, 1.0, got["webhook_backlog{}"])
		require.Equal(t, 0.0, got["webhook_due_age_seconds{}"])

		client.Wait(t, 3)
		require.NoError(t, d.Idle(t.Context()))
		got = series(t, registry)
		for name, want := range map[string]float64{
			"webhook_events_sent_total{}":                     1,
			"webhook_events_duplicate_total{}":                1,
			"webhook_deliveries_created_total{}":              1,
			"webhook_send_duration_seconds{outcome=ok}":       2,
			"webhook_send_duration_seconds{outcome=error}":    1,
			"webhook_attempt_duration_seconds{status=failed}": 2,
			"webhook_attempt_lateness_seconds{}":              3,
			"webhook_delivery_duration_seconds{}":             1,
			"webhook_store_up{}":                              1,
			"webhook_stats_up{}":                              1,
			"webhook_backlog{}":                               0,
			"webhook_finished{state=succeeded}":               1,
			"webhook_attempts_total{error_code=BAD_RESPONSE,response=5xx,status=failed,trigger=initial}": 1,
			"webhook_attempts_total{error_code=TIMEOUT,response=none,status=failed,trigger=automatic}":   1,
			"webhook_attempts_total{error_code=,response=2xx,status=succeeded,trigger=automatic}":        1,
		} {
			require.Contains(t, got, name)
			require.Equal(t, want, got[name], name)
		}
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, family := range families {
			if family.GetName() == "webhook_delivery_duration_seconds" {
				require.InDelta(t, 7200, family.Metric[0].GetHistogram().GetSampleSum(), 60, "two hours of retries")
			}
		}
		problems, err := testutil.GatherAndLint(registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

func TestEndings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := promwebhook.New(promwebhook.Config{})
		registry := register(t, m)
		client := &webhooktest.Client{}
		client.Respond(func(r webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		client.On("https://gone.example/").Script(410)
		client.On("https://slow.example/").Script(200)
		d := webhooktest.New(t, webhook.Config{Observer: m, HTTPClient: client, Retry: webhook.Schedule(time.Second)})
		m.Watch(d)
		for _, e := range []webhook.Endpoint{
			{URL: "https://a.example/", EventTypes: []string{"a"}}, {URL: "https://gone.example/", EventTypes: []string{"gone"}},
			{URL: "https://slow.example/", EventTypes: []string{"slow"}, RateLimit: 0.1},
		} {
			_, err := d.CreateEndpoint(t.Context(), e)
			require.NoError(t, err)
		}
		send := func(e webhook.Event) {
			e.Payload = []byte("{}")
			_, err := d.Send(t.Context(), e)
			require.NoError(t, err)
		}
		for range 5 {
			send(webhook.Event{Type: "a"})
		}
		send(webhook.Event{Type: "gone"})
		for range 2 {
			send(webhook.Event{Type: "slow", ExpiresAt: time.Now().Add(5 * time.Second)})
		}
		time.Sleep(time.Minute) // of the bubble
		got := series(t, registry)
		require.Equal(t, 1.0, got["webhook_endpoint_changes_total{change=failing}"])
		require.Equal(t, 1.0, got["webhook_endpoint_changes_total{change=disabled}"])
		require.Equal(t, 5.0, got["webhook_deliveries_exhausted_total{}"])
		require.Equal(t, 1.0, got["webhook_deliveries_expired_total{}"], "the rate limit came before it")
		require.Equal(t, 5.0, got["webhook_finished{state=exhausted}"])
		require.Equal(t, 1.0, got["webhook_finished{state=gone}"])

		client.Respond(func(r webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{} })
		send(webhook.Event{Type: "a"})
		require.NoError(t, d.Idle(t.Context()))
		require.Equal(t, 1.0, series(t, registry)["webhook_endpoint_changes_total{change=recovered}"])
	})
}

func TestLabelsOnlyIfAskedFor(t *testing.T) {
	m := promwebhook.New(promwebhook.Config{ByEndpoint: true, ByType: true, ByTenant: true, Labels: prometheus.Labels{"service": "shop"}})
	registry := register(t, m)
	m.Observe(t.Context(), webhook.Notice{Kind: webhook.NoticeInterrupted, Attempt: &webhook.DeliveryAttempt{
		TenantID: "acme", EndpointID: "we_1", EventType: "order.created", Status: webhook.AttemptInterrupted,
		ErrorCode: webhook.CodeInterrupted, Trigger: webhook.TriggerInitial}})
	m.Observe(t.Context(), webhook.Notice{Kind: webhook.NoticeSent, Event: &webhook.Event{Type: "order.created"},
		Receipt: &webhook.Receipt{DeliveryIDs: []string{"a", "b"}}})
	got := series(t, registry)
	require.Contains(t, got, "webhook_attempts_total{endpoint=we_1,error_code=INTERRUPTED,response=none,service=shop,status=interrupted,tenant=acme,trigger=initial,type=order.created}")
	require.Equal(t, 1.0, got["webhook_events_sent_total{service=shop,type=order.created}"])
	require.Equal(t, 2.0, got["webhook_deliveries_created_total{service=shop}"])
}

func TestStoreUp(t *testing.T) {
	m := promwebhook.New(promwebhook.Config{})
	registry := register(t, m)
	m.Observe(t.Context(), webhook.Notice{Kind: webhook.NoticeStoreFailing})
	require.Equal(t, 0.0, series(t, registry)["webhook_store_up{}"])
	m.Observe(t.Context(), webhook.Notice{Kind: webhook.NoticeStoreRecovered})
	got := series(t, registry)
	require.Equal(t, 1.0, got["webhook_store_up{}"])
	require.Equal(t, 1.0, got["webhook_store_failures_total{}"])
}

// slowStore answers Stats when it is told to, whatever the context says.
type slowStore struct {
	webhook.Store
	asked  atomic.Int32
	answer chan struct{}
}

func (s *slowStore) Stats(ctx context.Context, now time.Time, q webhook.StatsQuery) (webhook.Stats, error) {
	s.asked.Add(1)
	<-s.answer
	return s.Store.Stats(context.WithoutCancel(ctx), now, q)
}

// A store that hangs costs a scrape the timeout, and one goroutine however many scrape.
func TestScrapesAreBoundedAndCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowStore{Store: memory.New(), answer: make(chan struct{})}
		d, err := webhook.New(store, webhook.Config{HTTPClient: http.DefaultClient})
		require.NoError(t, err)
		m := promwebhook.New(promwebhook.Config{StatsTimeout: time.Second, StatsEvery: 10 * time.Second})
		m.Watch(d)
		registry := register(t, m)
		for range 3 {
			start := time.Now()
			got := series(t, registry)
			require.Equal(t, time.Second, time.Since(start))
			require.Equal(t, 0.0, got["webhook_stats_up{}"])
			require.NotContains(t, got, "webhook_backlog{}")
			require.Contains(t, got, "webhook_store_up{}", "counters do not depend on the store")
		}
		require.EqualValues(t, 1, store.asked.Load())

		close(store.answer)
		synctest.Wait()
		for range 3 {
			got := series(t, registry)
			require.Equal(t, 1.0, got["webhook_stats_up{}"])
			require.Contains(t, got, "webhook_backlog{}")
		}
		require.EqualValues(t, 1, store.asked.Load(), "the late answer serves")
		time.Sleep(11 * time.Second) // of the bubble
		series(t, registry)
		require.EqualValues(t, 2, store.asked.Load())
	})
}
