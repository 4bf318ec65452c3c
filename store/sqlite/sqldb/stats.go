package sqldb

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
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

// all and ofTenant stand in place of an endpoint for sums, so that Stats need not add up those of many
// endpoints.
const all = 0

func ofTenant(num int64) int64 { return -num }

// sumUp adds the changes to the sums of their tenants and of all.
func (s stats) sumUp(q *session) error {
	endpoints := map[int64]bool{}
	for k := range s {
		endpoints[k.endpoint] = true
	}
	tenants, err := q.tenantsOf(sortedKeys(endpoints))
	if err != nil {
		return err
	}
	sums := stats{}
	for k, n := range s {
		sums.add(all, k.hour, k.kind, n)
		sums.add(ofTenant(tenants[k.endpoint]), k.hour, k.kind, n)
	}
	maps.Copy(s, sums)
	return nil
}

// tenantsOf returns the tenants of endpoints, which never change.
func (q *session) tenantsOf(endpoints []int64) (map[int64]int64, error) {
	tenants, unknown := q.s.tenants.of(endpoints)
	fresh := map[int64]int64{}
	err := inKeys(unknown, func(marks string, args []any) error {
		return q.query(func(r row) error {
			fresh[r.int(0)] = r.int(1)
			return nil
		}, `SELECT num, tenant FROM webhook_endpoint WHERE num IN (`+marks+`)`, args...)
	})
	maps.Copy(tenants, fresh)
	if err == nil && !q.s.bound { // an endpoint made in the user's transaction may yet vanish
		q.s.tenants.add(fresh)
	}
	return tenants, err
}

// tenants remembers the tenants of endpoints.
type tenants struct {
	mu sync.RWMutex
	by map[int64]int64
}

func newTenants() *tenants { return &tenants{by: map[int64]int64{}} }

func (t *tenants) of(endpoints []int64) (known map[int64]int64, unknown []int64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	known = make(map[int64]int64, len(endpoints))
	for _, endpoint := range endpoints {
		if tenant, ok := t.by[endpoint]; ok {
			known[endpoint] = tenant
		} else {
			unknown = append(unknown, endpoint)
		}
	}
	return known, unknown
}

func (t *tenants) add(fresh map[int64]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.by) > maxEndpoints {
		clear(t.by)
	}
	maps.Copy(t.by, fresh)
}

var upsertStats = newInserts(`INSERT INTO webhook_stat (endpoint, hour, kind, n) VALUES`, `(?, ?, ?, ?)`,
	`ON CONFLICT (endpoint, hour, kind) DO UPDATE SET n = n + excluded.n`)

func (s stats) flush(q *session) error {
	if err := s.sumUp(q); err != nil {
		return err
	}
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

// unsum takes an endpoint's hours out of the sums before they are deleted.
func (q *session) unsum(endpoint, tenant int64) error {
	for _, sum := range []int64{all, ofTenant(tenant)} {
		if err := q.exec(`INSERT INTO webhook_stat (endpoint, hour, kind, n)
			SELECT ?, hour, kind, -n FROM webhook_stat WHERE endpoint = ? AND hour > 0
			ON CONFLICT (endpoint, hour, kind) DO UPDATE SET n = n + excluded.n`, sum, endpoint); err != nil {
			return err
		}
	}
	return nil
}

// Stats implements [webhook.Store].
func (s *Store) Stats(ctx context.Context, now time.Time, sq webhook.StatsQuery) (out webhook.Stats, err error) {
	if err := s.unfoldEnded(ctx, now); err != nil {
		return out, err
	}
	err = s.read(ctx, func(q *session) error {
		t := total{session: q, now: now.UnixMicro()}
		found, err := t.scope(sq)
		if err != nil || !found {
			return err
		}
		for _, part := range []func() error{t.states, t.held, t.oldest, func() error { return t.hours(sq) }} {
			if err := part(); err != nil {
				return err
			}
		}
		out = t.sum
		return nil
	})
	return out, err
}

// total reads the counters of one endpoint, a tenant or all.
type total struct {
	*session
	now      int64
	counter  int64 // whose counters: an endpoint, or a sum
	tenant   int64 // 0: any
	endpoint int64 // 0: any
	sum      webhook.Stats
}

func (t *total) scope(sq webhook.StatsQuery) (found bool, err error) {
	t.counter = all
	if !sq.AllTenants {
		if t.tenant, err = t.find(sq.TenantID); err != nil || t.tenant == 0 {
			return false, err
		}
		t.counter = ofTenant(t.tenant)
	}
	if sq.EndpointID != "" {
		if t.endpoint, err = t.endpointOf(sq.EndpointID, t.tenant); err != nil || t.endpoint == 0 {
			return false, err
		}
		t.counter = t.endpoint
	}
	return true, nil
}

func (t *total) states() error {
	return t.query(func(r row) error {
		n := r.int(1)
		switch r.int(0) {
		case pending:
			t.sum.Pending = n
		case succeeded:
			t.sum.Succeeded = n
		case exhausted:
			t.sum.Exhausted = n
		case 3:
			t.sum.Gone = n
		case canceled:
			t.sum.Canceled = n
		case expired:
			t.sum.Expired = n
		}
		return nil
	}, `SELECT kind, n FROM webhook_stat WHERE endpoint = ? AND hour = 0`, t.counter)
}

// held adds up what is pending at endpoints that are paused or disabled.
func (t *total) held() (err error) {
	w := filter{}
	w.and("e.state IN (1, 2)")
	if t.tenant != 0 {
		w.and("e.tenant = ?", t.tenant)
	}
	index := "INDEXED BY webhook_endpoint_held"
	if t.endpoint != 0 {
		index = "NOT INDEXED"
		w.and("e.num = ?", t.endpoint)
	}
	t.sum.Held, err = t.int(`SELECT coalesce(sum(s.n), 0) FROM webhook_endpoint e `+index+`
		CROSS JOIN webhook_stat s ON s.endpoint = e.num AND s.hour = 0 AND s.kind = 0`+w.where(), w.args...)
	return err
}

// headsAtOnce is how many due endpoints are read at a time: as a rule the first page has the answer.
const headsAtOnce = 256

// oldest asks the due heads for the delivery that waits longest. Heads come in order and are never too
// late, so it stops at the first that cannot be better.
func (t *total) oldest() error {
	best, after := t.now, position{none, none}
	var of []int64
	if t.endpoint != 0 {
		of = []int64{t.endpoint}
	} else if t.tenant != 0 {
		nums, ok, err := t.fewEndpoints(t.tenant)
		if err != nil {
			return err
		}
		if ok {
			of = nums
		}
	}
	for {
		heads, err := t.dueHeads(of, after)
		if err != nil {
			return err
		}
		for i := range heads {
			h := &heads[i]
			if t.sum.OldestDueAt != nil && h.nextAt > best {
				return nil
			}
			nextAt, dueAt, found, err := t.next(h, t.now)
			if err != nil {
				return err
			}
			at := fromMicro(dueAt)
			if found && nextAt <= t.now && (t.sum.OldestDueAt == nil || at.Before(*t.sum.OldestDueAt)) {
				t.sum.OldestDueAt, best = &at, nextAt
			}
		}
		if len(heads) < headsAtOnce {
			return nil
		}
		after = heads[len(heads)-1].position
	}
}

// dueHeads are those of some endpoints, if they are given, else the tenant's or all.
func (t *total) dueHeads(of []int64, after position) (heads []taking, err error) {
	w := filter{}
	w.and("h.held = 0 AND h.next_at <= ?", t.now)
	w.and("h.next_at >= ? AND (h.next_at, h.endpoint) > (?, ?)", after.nextAt, after.nextAt, after.endpoint)
	index := "INDEXED BY webhook_head_next"
	switch {
	case of != nil:
		index = "NOT INDEXED"
		w.and(among("h.endpoint"), jsonKeys(of))
	case t.tenant != 0:
		w.and("e.tenant = ?", t.tenant)
	}
	err = t.query(func(r row) error {
		heads = append(heads, taking{position: position{r.int(0), r.int(1)}, firstKey: r.int(2), ordered: r.int(3) != 0})
		return nil
	}, `SELECT h.next_at, h.endpoint, h.first_key, e.ordered
		FROM webhook_head h `+index+` CROSS JOIN webhook_endpoint e ON e.num = h.endpoint`+
		w.where()+` ORDER BY h.next_at, h.endpoint LIMIT ?`, append(w.args, int64(headsAtOnce))...)
	return heads, err
}

func (t *total) hours(sq webhook.StatsQuery) error {
	now := fromMicro(t.now)
	from, until := sq.Since, sq.Until
	if from.IsZero() {
		from = now.Add(-24 * time.Hour)
	}
	if until.IsZero() {
		until = now.Add(time.Hour)
	}
	// Hours that touch the span; hour 0 holds totals.
	first := max(1, from.UnixMicro()-hour+1)
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
	}, `SELECT hour, kind, n FROM webhook_stat WHERE endpoint = ? AND hour >= ? AND hour < ? AND n <> 0
		ORDER BY hour, kind`, t.counter, first, ceilMicro(until))
}
