package promwebhook

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outhook/webhook"
)

// stats asks the store, at a scrape, what the gauges show. One question is open at a time, however many
// scrape and however long the store takes.
type stats struct {
	timeout, every time.Duration

	up, backlog, held, dueAge, finished, inFlight, inMemory *prometheus.Desc

	mu     sync.Mutex
	source *webhook.Dispatcher // guarded by mu
	open   chan struct{}       // guarded by mu; closed when the answer is there; nil: nobody asks
	last   webhook.Stats       // guarded by mu
	at     time.Time           // guarded by mu; of last; zero: there is none
}

func newStats(cfg Config) stats {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, cfg.Labels)
	}
	return stats{
		timeout: cfg.StatsTimeout, every: cfg.StatsEvery,
		up:       desc("stats_up", "0 if the store did not answer in time, and the gauges are left out."),
		backlog:  desc("backlog", "Deliveries that are pending and not held."),
		held:     desc("held", "Pending deliveries whose endpoint is paused or disabled."),
		dueAge:   desc("due_age_seconds", "How long the longest overdue delivery has waited."),
		finished: desc("finished", "Finished deliveries that retention has not taken.", "state"),
		inFlight: desc("in_flight", "Attempts under way in this process."),
		inMemory: desc("in_memory", "Deliveries waiting in this process's memory."),
	}
}

func (s *stats) watch(d *webhook.Dispatcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source, s.at = d, time.Time{}
}

func (s *stats) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.up, s.backlog, s.held, s.dueAge, s.finished, s.inFlight, s.inMemory} {
		ch <- d
	}
}

func (s *stats) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	now, ok := s.now()
	if !ok {
		gauge(s.up, 0)
		return
	}
	gauge(s.up, 1)
	gauge(s.backlog, float64(now.Pending-now.Held))
	gauge(s.held, float64(now.Held))
	age := 0.0
	if now.OldestDueAt != nil {
		age = max(0, time.Since(*now.OldestDueAt).Seconds())
	}
	gauge(s.dueAge, age)
	for state, n := range map[webhook.DeliveryState]int64{
		webhook.StateSucceeded: now.Succeeded, webhook.StateExhausted: now.Exhausted, webhook.StateGone: now.Gone,
		webhook.StateCanceled: now.Canceled, webhook.StateExpired: now.Expired,
	} {
		gauge(s.finished, float64(n), string(state))
	}
	gauge(s.inFlight, float64(now.InFlight))
	gauge(s.inMemory, float64(now.Waiting))
}

// now returns an answer that is fresh enough, waiting for it within the timeout.
func (s *stats) now() (webhook.Stats, bool) {
	timer := time.NewTimer(s.timeout)
	defer timer.Stop()
	for asked := false; ; asked = true {
		answer, fresh, open := s.look(!asked)
		if fresh || open == nil {
			return answer, fresh
		}
		select {
		case <-open:
		case <-timer.C:
			return webhook.Stats{}, false
		}
	}
}

// look returns the last answer if it is fresh. Else it returns what closes when the next is there, having
// asked if it may and nobody else has.
func (s *stats) look(ask bool) (answer webhook.Stats, fresh bool, open <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source == nil {
		return webhook.Stats{}, false, nil
	}
	if !s.at.IsZero() && time.Since(s.at) < s.every {
		return s.last, true, nil
	}
	if s.open == nil && ask {
		s.open = make(chan struct{})
		go s.ask(s.source, s.open)
	}
	return webhook.Stats{}, false, s.open
}

func (s *stats) ask(source *webhook.Dispatcher, open chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	now := time.Now()
	// Of the hours, none is shown: ask for as few as can be.
	answer, err := source.Stats(ctx, webhook.StatsQuery{AllTenants: true, Since: now, Until: now.Add(time.Second)})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && source == s.source {
		s.last, s.at = answer, time.Now()
	}
	s.open = nil
	close(open)
}
