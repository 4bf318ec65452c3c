package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
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

// all is the number that no endpoint has: hours are summed up under it, so that a chart of all does not read
// each endpoint's. A tenant has few endpoints, as a rule.
const all = 0

type statKey struct{ endpoint, hour, kind int64 }

// stats gathers changes of counters.
type stats map[statKey]int64

func (s stats) add(endpoint, hour, kind, n int64) { s[statKey{endpoint, hour, kind}] += n }

// count counts a delivery as of its state now. Leases are not counted: a delivery under way on an
// endpoint that is paused meanwhile counts as held.
func (s stats) count(d *delivery) {
	if d.counted == d.state {
		return
	}
	s.drop(d)
	s.add(d.endpoint, 0, d.state, 1)
	d.counted = d.state
}

// drop takes a delivery out of the counters.
func (s stats) drop(d *delivery) {
	if d.counted != uncounted {
		s.add(d.endpoint, 0, d.counted, -1)
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
	s.add(all, at-at%hour, kind, 1)
}

// Deliveries are taken from what is pending before the note of their Send is entered: a counter may
// be below zero for a while, and the sum with the notes is right.
var upsertStats = inserting("webhook.stat AS s", `endpoint hour kind shard n`,
	`ORDER BY u.endpoint, u.hour, u.kind ON CONFLICT (endpoint, hour, kind, shard) DO UPDATE SET n = s.n + excluded.n`)

// shards is how many transactions can count without waiting for each other, as long as they choose different ones.
const shards = 16

// lanes gives each of a process's transactions that are under way at once another shard.
type lanes struct {
	mu   sync.Mutex
	list [maxCommits]lane
}

// lane is a shard, and how many transactions use it.
type lane struct {
	shard int64
	users int // guarded by the mutex of lanes
}

func newLanes(first byte) *lanes {
	l := &lanes{}
	for i := range l.list {
		l.list[i].shard = (int64(first) + int64(i)*shards/maxCommits) % shards
	}
	return l
}

func (l *lanes) take() *lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	best := &l.list[0]
	for i := range l.list {
		if l.list[i].users < best.users {
			best = &l.list[i]
		}
	}
	best.users++
	return best
}

func (l *lanes) give(lane *lane) {
	if lane == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lane.users--
}

// statements come last in a transaction: until its end others wait to count in the same shard.
func (s stats) statements(q *session) []*statement {
	keys := make([]statKey, 0, len(s))
	for k, n := range s {
		if n != 0 {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if q.lane == nil {
		q.lane = q.s.lanes.take()
	}
	slices.SortFunc(keys, func(a, b statKey) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.hour, b.hour), cmp.Compare(a.kind, b.kind))
	})
	g := gathered{form: upsertStats}
	for _, k := range keys {
		g.add(k.endpoint, k.hour, k.kind, q.lane.shard, s[k])
	}
	return []*statement{g.statement()}
}

// Stats implements [webhook.Store].
func (s *Store) Stats(ctx context.Context, now time.Time, sq webhook.StatsQuery) (out webhook.Stats, err error) {
	err = s.read(ctx, func(q *session) error {
		t := total{session: q, now: now}
		if found := t.scope(sq); !found {
			return nil
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
	of  filter // of the endpoints e that are asked for
	sum webhook.Stats
}

func (t *total) scope(sq webhook.StatsQuery) (found bool) {
	if !sq.AllTenants {
		t.of.and("e.tenant = ?", sq.TenantID)
	}
	if sq.EndpointID != "" {
		key, rest, ok := id.Split(id.Endpoint, sq.EndpointID)
		if !ok {
			return false
		}
		t.of.and("e.key = ? AND e.rest = ?", key, rest)
	}
	t.of.and("NOT e.erased")
	return true
}

func (t *total) totals() error {
	add := func(r row) error {
		var kind, n int64
		var held bool
		err := r.Scan(&kind, &held, &n)
		switch kind {
		case pending:
			t.sum.Pending += n
			if held {
				t.sum.Held += n
			}
		case succeeded:
			t.sum.Succeeded += n
		case exhausted:
			t.sum.Exhausted += n
		case gone:
			t.sum.Gone += n
		case canceled:
			t.sum.Canceled += n
		case expired:
			t.sum.Expired += n
		}
		return err
	}
	return t.session.run(
		&statement{sql: `SELECT s.kind, e.state IN (1, 2), sum(s.n)::bigint FROM webhook.endpoint e
			JOIN webhook.stat s ON s.endpoint = e.num AND s.hour = 0` + t.of.where() + ` GROUP BY 1, 2`, args: t.of.args, scan: add},
		&statement{sql: `SELECT 0, e.state IN (1, 2), sum(x.fresh)::bigint FROM webhook.note n
			CROSS JOIN LATERAL unnest(n.endpoint, n.fresh) AS x(num, fresh) JOIN webhook.endpoint e ON e.num = x.num` +
			t.of.where() + ` GROUP BY 2`, args: t.of.args, scan: add},
		&statement{sql: `SELECT 0, e.state IN (1, 2), count(*) FROM webhook.note n CROSS JOIN LATERAL unnest(n.handed) AS x(key)
			CROSS JOIN LATERAL (SELECT endpoint FROM webhook.delivery WHERE key = x.key AND state = 0 AND NOT queued OFFSET 0) d
			JOIN webhook.endpoint e ON e.num = d.endpoint` +
			t.of.where() + ` GROUP BY 2`, args: t.of.args, scan: add})
}

// oldest asks the due heads for the delivery that waits longest. Heads come in order and are never too
// late, so it stops at the first that cannot be better. What only notes tell of is due as they say, or was.
func (t *total) oldest() error {
	now := t.now.UnixMicro()
	w := filter{terms: slices.Clone(t.of.terms), args: slices.Clone(t.of.args)}
	w.and("e.state = 0")
	due := w.arg(now)
	var heads []taking
	err := t.query(func(r row) error {
		var h taking
		err := r.Scan(&h.nextAt, &h.endpoint, &h.firstKey, &h.ordered)
		heads = append(heads, h)
		return err
	}, `SELECT min(x.next_at), e.num, min(x.first_key), e.ordered FROM webhook.endpoint e JOIN (
			SELECT endpoint, next_at, first_key FROM webhook.head WHERE NOT held AND next_at <= `+due+`
			UNION ALL SELECT u.endpoint, u.next_at, u.key FROM webhook.note n
				CROSS JOIN LATERAL unnest(n.endpoint, n.next_at, n.key) AS u(endpoint, next_at, key)
				WHERE n.at <= `+due+` AND u.next_at <= `+due+`) x ON x.endpoint = e.num`+
		w.where()+` GROUP BY e.num ORDER BY 1`, w.args...)
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
	since, until := sq.Since, sq.Until
	if since.IsZero() {
		since = t.now.Add(-24 * time.Hour)
	}
	if until.IsZero() {
		until = t.now.Add(time.Hour)
	}
	from, w := "webhook.endpoint e JOIN webhook.stat s ON s.endpoint = e.num", filter{terms: slices.Clone(t.of.terms), args: slices.Clone(t.of.args)}
	if sq.AllTenants && sq.EndpointID == "" {
		from, w = "webhook.stat s", filter{terms: []string{fmt.Sprintf("s.endpoint = %d", all)}}
	}
	// Hours that touch the span; hour 0 holds totals.
	w.and("s.hour >= ? AND s.hour < ?", max(1, since.UnixMicro()-hour+1), ceilMicro(until))
	return t.query(func(r row) error {
		var start, kind, n int64
		if err := r.Scan(&start, &kind, &n); err != nil {
			return err
		}
		at := fromMicro(start)
		if n := len(t.sum.Hours); n == 0 || !t.sum.Hours[n-1].Start.Equal(at) {
			t.sum.Hours = append(t.sum.Hours, webhook.HourStats{Start: at})
		}
		h := &t.sum.Hours[len(t.sum.Hours)-1]
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
	}, `SELECT s.hour, s.kind, sum(s.n)::bigint FROM `+from+w.where()+` GROUP BY 1, 2 HAVING sum(s.n) <> 0 ORDER BY 1, 2`, w.args...)
}
