package sqldb

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

// Kinds of hour 0 are the states of deliveries. Of other hours: the latency bucket, or noResponse;
// failures have failedKind added.
const (
	noResponse = 12
	failedKind = 16
	hour       = int64(time.Hour / time.Microsecond)
)

type statKey struct{ endpoint, hour, kind int64 }

// stats gathers changes of counters.
type stats map[statKey]int64

func (s stats) add(endpoint, hour, kind, n int64) { s[statKey{endpoint, hour, kind}] += n }

// move counts a delivery as of another state. Leases are not counted: a delivery under way on an
// endpoint that is paused meanwhile counts as held.
func (s stats) move(endpoint, from, to int64) {
	if from != to {
		s.add(endpoint, 0, from, -1)
		s.add(endpoint, 0, to, 1)
	}
}

func (s stats) attempt(endpoint int64, a *webhook.DeliveryAttempt) {
	if a.Status == webhook.AttemptInterrupted {
		return
	}
	kind := int64(noResponse)
	if a.StatusCode != nil {
		bucket, _ := slices.BinarySearch(webhook.LatencyBounds[:], a.DurationMS)
		kind = int64(bucket)
	}
	if a.Status != webhook.AttemptSucceeded {
		kind += failedKind
	}
	at := a.CompletedAt.UnixMicro()
	s.add(endpoint, at-at%hour, kind, 1)
}

var upsertStats = newInserts(`INSERT INTO webhook_stat (endpoint, hour, kind, n) VALUES`, `(?, ?, ?, ?)`,
	`ON CONFLICT (endpoint, hour, kind) DO UPDATE SET n = n + excluded.n`)

func (s stats) flush(q *session) error {
	keys := make([]statKey, 0, len(s))
	for k, n := range s {
		if n != 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b statKey) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.hour, b.hour), cmp.Compare(a.kind, b.kind))
	})
	in := inserter{inserts: upsertStats}
	for _, k := range keys {
		in.add(k.endpoint, k.hour, k.kind, s[k])
	}
	_, err := in.flush(q)
	return err
}

// Stats implements [webhook.Store].
func (s *Store) Stats(ctx context.Context, now time.Time, sq webhook.StatsQuery) (out webhook.Stats, err error) {
	err = s.read(ctx, func(q *session) error {
		t := total{session: q, now: now}
		found, err := t.scope(sq)
		if err != nil || !found {
			return err
		}
		if err := t.totals(); err != nil {
			return err
		}
		if err := t.oldest(); err != nil {
			return err
		}
		err = t.hours(sq)
		out = t.sum
		return err
	})
	return out, err
}

// total sums up the counters of the endpoints in its scope.
type total struct {
	*session
	now time.Time
	// The endpoints e that are asked for.
	from, where string
	args        []any
	sum         webhook.Stats
}

func (t *total) scope(sq webhook.StatsQuery) (found bool, err error) {
	w := filter{}
	from := "webhook_endpoint e NOT INDEXED"
	if !sq.AllTenants {
		from = "webhook_endpoint e INDEXED BY webhook_endpoint_tenant"
		if found, err := w.name(t.session, "e.tenant", sq.TenantID); err != nil || !found {
			return false, err
		}
	}
	if sq.EndpointID != "" {
		from = "webhook_endpoint e INDEXED BY webhook_endpoint_key"
		key, rest, ok := id.Split(id.Endpoint, sq.EndpointID)
		if !ok {
			return false, nil
		}
		w.and("e.key = ? AND e.rest = ?", key, rest)
	}
	w.and("e.erased = 0")
	t.from, t.where, t.args = from, w.where(), w.args
	return true, nil
}

func (t *total) over(join string) string { return t.from + " CROSS JOIN " + join + t.where }

func (t *total) totals() error {
	return t.query(func(r row) error {
		n := r.int(2)
		switch r.int(0) {
		case pending:
			t.sum.Pending += n
			if r.int(1) != 0 {
				t.sum.Held += n
			}
		case succeeded:
			t.sum.Succeeded += n
		case exhausted:
			t.sum.Exhausted += n
		case 3:
			t.sum.Gone += n
		case canceled:
			t.sum.Canceled += n
		case expired:
			t.sum.Expired += n
		}
		return nil
	}, `SELECT s.kind, e.state IN (1, 2), sum(s.n) FROM `+
		t.over(`webhook_stat s ON s.endpoint = e.num AND s.hour = 0`)+` GROUP BY 1, 2`, t.args...)
}

// oldest asks the due heads for the delivery that waits longest. Heads come in order and are never too
// late, so it stops at the first that cannot be better.
func (t *total) oldest() error {
	now := t.now.UnixMicro()
	var heads []taking
	err := t.query(func(r row) error {
		heads = append(heads, taking{position: position{r.int(0), r.int(1)}, firstKey: r.int(2), ordered: r.int(3) != 0})
		return nil
	}, `SELECT h.next_at, h.endpoint, h.first_key, e.ordered
		FROM webhook_head h INDEXED BY webhook_head_next CROSS JOIN webhook_endpoint e ON e.num = h.endpoint`+
		t.where+` AND h.held = 0 AND h.next_at <= ? ORDER BY h.next_at`, append(slices.Clone(t.args), now)...)
	if err != nil {
		return err
	}
	best := now
	for _, h := range heads {
		if t.sum.OldestDueAt != nil && h.nextAt > best {
			break
		}
		nextAt, dueAt, found, err := t.next(&h, now)
		if err != nil {
			return err
		}
		if at := fromMicro(dueAt); found && nextAt <= now && (t.sum.OldestDueAt == nil || at.Before(*t.sum.OldestDueAt)) {
			t.sum.OldestDueAt, best = &at, nextAt
		}
	}
	return nil
}

func (t *total) hours(sq webhook.StatsQuery) error {
	from, until := sq.Since, sq.Until
	if from.IsZero() {
		from = t.now.Add(-24 * time.Hour)
	}
	if until.IsZero() {
		until = t.now.Add(time.Hour)
	}
	// Hours that touch the span; hour 0 holds totals.
	first := max(1, from.UnixMicro()-hour+1)
	args := append([]any{first, ceilMicro(until)}, t.args...)
	return t.query(func(r row) error {
		start := fromMicro(r.int(0))
		if n := len(t.sum.Hours); n == 0 || !t.sum.Hours[n-1].Start.Equal(start) {
			t.sum.Hours = append(t.sum.Hours, webhook.HourStats{Start: start})
		}
		h := &t.sum.Hours[len(t.sum.Hours)-1]
		kind, n := r.int(1), r.int(2)
		if kind >= failedKind {
			kind -= failedKind
			h.Failed += n
		} else {
			h.Succeeded += n
		}
		if kind < noResponse {
			h.Latency[kind] += n
		}
		return nil
	}, `SELECT s.hour, s.kind, sum(s.n) FROM `+
		t.over(`webhook_stat s ON s.endpoint = e.num AND s.hour >= ? AND s.hour < ?`)+
		` GROUP BY 1, 2 ORDER BY 1`, args...)
}
