package memory

import (
	"context"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// Stats implements [webhook.Store]. It sums up the counters of the endpoints that are asked for.
func (s *Store) Stats(ctx context.Context, now time.Time, q webhook.StatsQuery) (webhook.Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return webhook.Stats{}, err
	}
	t := newTotal(now, q)
	if q.EndpointID != "" {
		if e := s.endpoints[q.EndpointID]; e != nil && !e.erased && (q.AllTenants || e.row.TenantID == q.TenantID) {
			t.add(e)
		}
		return t.stats(), nil
	}
	for e := range s.rowsOf(q.TenantID, q.AllTenants).endpoints.down("") {
		t.add(e)
	}
	return t.stats(), nil
}

type total struct {
	sum         webhook.Stats
	now         int64
	from, until time.Time // of hours
	hours       map[int64]*webhook.HourStats
}

func newTotal(now time.Time, q webhook.StatsQuery) *total {
	t := &total{now: now.UnixMicro(), from: q.Since, until: q.Until, hours: map[int64]*webhook.HourStats{}}
	if t.from.IsZero() {
		t.from = now.Add(-24 * time.Hour)
	}
	if t.until.IsZero() {
		t.until = now.Add(time.Hour)
	}
	return t
}

func (t *total) add(e *endpoint) {
	t.sum.Pending += e.counts.Pending
	t.sum.Succeeded += e.counts.Succeeded
	t.sum.Exhausted += e.counts.Exhausted
	t.sum.Gone += e.counts.Gone
	t.sum.Canceled += e.counts.Canceled
	t.sum.Expired += e.counts.Expired
	if e.holds() {
		t.sum.Held += e.counts.Pending - e.sending()
	}
	if d, from := e.next(); d != nil && e.row.State == webhook.EndpointEnabled && from <= t.now {
		if due := at(d.dueAt); t.sum.OldestDueAt == nil || due.Before(*t.sum.OldestDueAt) {
			t.sum.OldestDueAt = &due
		}
	}
	for hour, h := range e.hours {
		if h.Start.Add(time.Hour).After(t.from) && h.Start.Before(t.until) {
			t.addHour(hour, h)
		}
	}
}

func (t *total) addHour(hour int64, h *webhook.HourStats) {
	sum := t.hours[hour]
	if sum == nil {
		sum = &webhook.HourStats{Start: h.Start}
		t.hours[hour] = sum
	}
	sum.Succeeded += h.Succeeded
	sum.Failed += h.Failed
	for i, n := range h.Latency {
		sum.Latency[i] += n
	}
}

func (t *total) stats() webhook.Stats {
	for _, h := range t.hours {
		t.sum.Hours = append(t.sum.Hours, *h)
	}
	slices.SortFunc(t.sum.Hours, func(a, b webhook.HourStats) int { return a.Start.Compare(b.Start) })
	return t.sum
}

// sending counts the pending deliveries that are leased.
func (e *endpoint) sending() (n int64) {
	for _, d := range e.leased {
		if d.pending() {
			n++
		}
	}
	return n
}

// count adds n deliveries of a state to the endpoint's; the empty state is none.
func (e *endpoint) count(state webhook.DeliveryState, n int64) {
	switch state {
	case "":
	case webhook.StateSucceeded:
		e.counts.Succeeded += n
	case webhook.StateExhausted:
		e.counts.Exhausted += n
	case webhook.StateGone:
		e.counts.Gone += n
	case webhook.StateCanceled:
		e.counts.Canceled += n
	case webhook.StateExpired:
		e.counts.Expired += n
	default:
		e.counts.Pending += n
	}
}

// observe adds an attempt to the endpoint's health and hours. Interrupted ones say nothing about the
// endpoint, and canceled ones nothing about its health.
func (e *endpoint) observe(a *attempt, exhausted bool) {
	h := &e.row.Health
	switch a.Status {
	case webhook.AttemptFailed:
		if h.FailingSince.IsZero() {
			h.FailingSince = a.StartedAt
		}
		h.Failures++
		h.LastFailureAt = later(h.LastFailureAt, a.CompletedAt)
		if exhausted {
			h.Exhausted++
		}
	case webhook.AttemptSucceeded:
		h.FailingSince, h.Failures, h.Exhausted = time.Time{}, 0, 0
		h.LastSuccessAt = later(h.LastSuccessAt, a.CompletedAt.Truncate(time.Minute))
	}
	if a.Status != webhook.AttemptInterrupted {
		e.hour(a.CompletedAt).add(a)
	}
}

func (e *endpoint) hour(t time.Time) hourCounter {
	hour := t.Unix() / 3600
	h := e.hours[hour]
	if h == nil {
		h = &webhook.HourStats{Start: time.Unix(hour*3600, 0).UTC()}
		e.hours[hour] = h
	}
	return hourCounter{h}
}

type hourCounter struct{ *webhook.HourStats }

func (h hourCounter) add(a *attempt) {
	if a.Status == webhook.AttemptSucceeded {
		h.Succeeded++
	} else {
		h.Failed++
	}
	if a.StatusCode == nil {
		return
	}
	bucket, _ := slices.BinarySearch(webhook.LatencyBounds[:], a.DurationMS)
	h.Latency[bucket]++
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
