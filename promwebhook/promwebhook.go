// Package promwebhook counts for Prometheus what a webhook.Dispatcher does:
//
//	metrics := promwebhook.New(promwebhook.Config{})
//	prometheus.MustRegister(metrics)
//	d, err := webhook.New(store, webhook.Config{Observer: metrics})
//	metrics.Watch(d)
//
// Counters and histograms are this process's. They count what is stored:
//
//	webhook_events_sent_total                     events stored by Send and SendBatch; not SendTx, see below
//	webhook_events_duplicate_total                those whose IdempotencyKey was known
//	webhook_deliveries_created_total              their deliveries
//	webhook_send_duration_seconds{outcome}        calls of Send, SendBatch and SendTx: ok or error
//	webhook_attempts_total{status,response,error_code,trigger}
//	                                              attempts; response is 2xx … 5xx, "other" or "none"
//	webhook_attempt_duration_seconds{status}      of a request
//	webhook_attempt_lateness_seconds              from when an attempt was due to its start
//	webhook_delivery_duration_seconds             from Send, or DeliverAt, to the success of a delivery
//	webhook_deliveries_exhausted_total            given up
//	webhook_deliveries_expired_total              expired when it was their turn
//	webhook_endpoint_changes_total{change}        failing, recovered, disabled
//	webhook_store_failures_total                  how often the store began to fail
//	webhook_store_up                              0 while it fails
//
// Gauges are read from the store at a scrape, and are the same in every process that shares it, but for
// the last two. They are left out when the store does not answer in time:
//
//	webhook_stats_up                              0 if they are left out
//	webhook_backlog                               deliveries that are pending and not held
//	webhook_held                                  pending, their endpoint paused or disabled
//	webhook_due_age_seconds                       how long the longest overdue delivery has waited; 0: none
//	webhook_finished{state}                       that retention has not taken
//	webhook_in_flight                             attempts under way in this process
//	webhook_in_memory                             deliveries waiting in this process's memory
//
// An event of SendTx is in no counter of events, since nobody tells whether you committed; its attempts
// are counted like all others.
//
// A good first alarm is webhook_due_age_seconds, together with webhook_stats_up and webhook_store_up.
// The file dashboard.json is a dashboard for Grafana.
package promwebhook

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outhook/webhook"
)

// Config configures Metrics. The zero value is right for one dispatcher.
type Config struct {
	// Labels are constant, to tell several dispatchers of one process apart. Default: none.
	Labels prometheus.Labels
	// ByEndpoint, ByType and ByTenant add the labels "endpoint", "type" and "tenant" to the counters of
	// attempts, and ByType to that of events. Each value makes series that stay until the process
	// ends: ask for what there are few of.
	ByEndpoint, ByType, ByTenant bool
	// StatsTimeout bounds how long a scrape waits for the store. Default: 2 s.
	StatsTimeout time.Duration
	// StatsEvery is how long an answer of the store serves further scrapes. Default: 5 s.
	StatsEvery time.Duration
}

// Metrics is a webhook.SendObserver and a prometheus.Collector. Make one with New.
type Metrics struct {
	cfg   Config
	stats stats

	sent, duplicates *prometheus.CounterVec
	created          prometheus.Counter
	sendDuration     *prometheus.HistogramVec
	attempts         *prometheus.CounterVec
	attemptDuration  *prometheus.HistogramVec
	lateness         prometheus.Histogram
	deliveryDuration prometheus.Histogram
	exhausted        prometheus.Counter
	expired          prometheus.Counter
	changes          *prometheus.CounterVec
	storeFailures    prometheus.Counter
	storeUp          prometheus.Gauge
}

var (
	_ webhook.SendObserver = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

var (
	// 1 ms to 33 s: a commit is a few, and an attempt ends with its timeout.
	callBuckets = prometheus.ExponentialBuckets(0.001, 2, 16)
	// 5 ms to 5 days: the default schedule lasts three.
	waitBuckets = []float64{.005, .025, .1, .5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 2 * 86400, 5 * 86400}
)

// New returns Metrics for webhook.Config.Observer and for a Registerer.
func New(cfg Config) *Metrics {
	if cfg.StatsTimeout <= 0 {
		cfg.StatsTimeout = 2 * time.Second
	}
	if cfg.StatsEvery <= 0 {
		cfg.StatsEvery = 5 * time.Second
	}
	m := &Metrics{cfg: cfg, stats: newStats(cfg)}
	m.sent = m.counters("events_sent_total", "Events stored by Send and SendBatch.", m.eventLabels()...)
	m.duplicates = m.counters("events_duplicate_total", "Events whose idempotency key was known.", m.eventLabels()...)
	m.created = m.counters("deliveries_created_total", "Deliveries of the events stored.").WithLabelValues()
	m.sendDuration = m.histograms("send_duration_seconds", "Calls of Send, SendBatch and SendTx.", callBuckets, "outcome")
	m.attempts = m.counters("attempts_total", "Attempts stored.", append([]string{"status", "response", "error_code", "trigger"}, m.attemptLabels()...)...)
	m.attemptDuration = m.histograms("attempt_duration_seconds", "Duration of attempts.", callBuckets, "status")
	m.lateness = m.histogram("attempt_lateness_seconds", "From when an attempt was due to its start.")
	m.deliveryDuration = m.histogram("delivery_duration_seconds", "From Send, or DeliverAt, to the success of a delivery.")
	m.exhausted = m.counters("deliveries_exhausted_total", "Deliveries given up.").WithLabelValues()
	m.expired = m.counters("deliveries_expired_total", "Deliveries that had expired when it was their turn.").WithLabelValues()
	m.changes = m.counters("endpoint_changes_total", "Endpoints found failing, recovered or disabled.", "change")
	m.storeFailures = m.counters("store_failures_total", "How often the store began to fail.").WithLabelValues()
	m.storeUp = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "store_up", Help: "0 while the store fails.", ConstLabels: cfg.Labels})
	m.storeUp.Set(1)
	m.begin()
	return m
}

// begin makes the series whose labels are known, so that rates of the first event are right.
func (m *Metrics) begin() {
	for _, change := range []string{"failing", "recovered", "disabled"} {
		m.changes.WithLabelValues(change)
	}
	for _, outcome := range []string{"ok", "error"} {
		m.sendDuration.WithLabelValues(outcome)
	}
	if !m.cfg.ByType {
		m.sent.WithLabelValues()
		m.duplicates.WithLabelValues()
	}
}

const namespace = "webhook"

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Name: name, Help: help, ConstLabels: m.cfg.Labels}, labels)
}

func (m *Metrics) histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, ConstLabels: m.cfg.Labels, Buckets: buckets}, labels)
}

func (m *Metrics) histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help, ConstLabels: m.cfg.Labels, Buckets: waitBuckets})
}

func (m *Metrics) eventLabels() (labels []string) {
	if m.cfg.ByType {
		labels = append(labels, "type")
	}
	return labels
}

func (m *Metrics) attemptLabels() []string {
	labels := m.eventLabels()
	if m.cfg.ByEndpoint {
		labels = append(labels, "endpoint")
	}
	if m.cfg.ByTenant {
		labels = append(labels, "tenant")
	}
	return labels
}

// Watch names the dispatcher whose Stats the gauges show. Without it they are left out.
func (m *Metrics) Watch(d *webhook.Dispatcher) { m.stats.watch(d) }

// ObserveSend times a call.
func (m *Metrics) ObserveSend(ctx context.Context, _ []webhook.Event) (context.Context, func([]webhook.Receipt, error)) {
	start := time.Now()
	return ctx, func(_ []webhook.Receipt, err error) {
		outcome := "ok"
		if err != nil {
			outcome = "error"
		}
		m.sendDuration.WithLabelValues(outcome).Observe(time.Since(start).Seconds())
	}
}

// Observe counts.
func (m *Metrics) Observe(_ context.Context, n webhook.Notice) {
	switch n.Kind {
	case webhook.NoticeSent:
		m.countEvent(n)
	case webhook.NoticeAttempt:
		m.countAttempt(n.Attempt)
		m.timeAttempt(n)
	case webhook.NoticeInterrupted:
		m.countAttempt(n.Attempt)
	case webhook.NoticeExhausted:
		m.exhausted.Inc()
	case webhook.NoticeExpired:
		m.expired.Inc()
	case webhook.NoticeEndpointFailing:
		m.changes.WithLabelValues("failing").Inc()
	case webhook.NoticeEndpointRecover:
		m.changes.WithLabelValues("recovered").Inc()
	case webhook.NoticeEndpointDisabled:
		m.changes.WithLabelValues("disabled").Inc()
	case webhook.NoticeStoreFailing:
		m.storeFailures.Inc()
		m.storeUp.Set(0)
	case webhook.NoticeStoreRecovered:
		m.storeUp.Set(1)
	}
}

func (m *Metrics) countEvent(n webhook.Notice) {
	var labels []string
	if m.cfg.ByType {
		labels = append(labels, n.Event.Type)
	}
	if n.Receipt.Duplicate {
		m.duplicates.WithLabelValues(labels...).Inc()
		return
	}
	m.sent.WithLabelValues(labels...).Inc()
	m.created.Add(float64(len(n.Receipt.DeliveryIDs)))
}

func (m *Metrics) countAttempt(a *webhook.DeliveryAttempt) {
	labels := []string{string(a.Status), responseClass(a.StatusCode), string(a.ErrorCode), string(a.Trigger)}
	if m.cfg.ByType {
		labels = append(labels, a.EventType)
	}
	if m.cfg.ByEndpoint {
		labels = append(labels, a.EndpointID)
	}
	if m.cfg.ByTenant {
		labels = append(labels, a.TenantID)
	}
	m.attempts.WithLabelValues(labels...).Inc()
}

func responseClass(status *int) string {
	switch {
	case status == nil:
		return "none"
	case *status >= 200 && *status <= 599:
		return strconv.Itoa(*status/100) + "xx"
	}
	return "other"
}

func (m *Metrics) timeAttempt(n webhook.Notice) {
	a := n.Attempt
	m.attemptDuration.WithLabelValues(string(a.Status)).Observe(float64(a.DurationMS) / 1000)
	m.lateness.Observe(max(0, a.StartedAt.Sub(n.DueAt).Seconds()))
	if a.Status == webhook.AttemptSucceeded {
		begin := n.Delivery.CreatedAt
		if n.Event.DeliverAt.After(begin) {
			begin = n.Event.DeliverAt
		}
		m.deliveryDuration.Observe(max(0, a.CompletedAt.Sub(begin).Seconds()))
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.own() {
		c.Describe(ch)
	}
	m.stats.describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.own() {
		c.Collect(ch)
	}
	m.stats.collect(ch)
}

func (m *Metrics) own() []prometheus.Collector {
	return []prometheus.Collector{m.sent, m.duplicates, m.created, m.sendDuration, m.attempts, m.attemptDuration,
		m.lateness, m.deliveryDuration, m.exhausted, m.expired, m.changes, m.storeFailures, m.storeUp}
}
