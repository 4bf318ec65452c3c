package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/packed"
	"github.com/outhook/webhook/internal/pgtest"
)

// spy has every query that runs through it explained, as it was carried out.
type spy struct {
	conn
	t     *testing.T
	plans map[string]plan
}

// plan is a node of what EXPLAIN (ANALYZE, FORMAT JSON) says.
type plan struct {
	Node    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Plans   []plan
}

// read is how many rows of the large tables were looked at.
func (p plan) read() (n float64) {
	switch p.Table {
	case "delivery", "event", "attempt":
		n = (p.Rows + p.Removed) * p.Loops
	}
	for _, below := range p.Plans {
		n += below.read()
	}
	return n
}

func (p plan) indexes() string {
	all := p.Index
	for _, below := range p.Plans {
		all += " " + below.indexes()
	}
	return all
}

func (s *spy) run(ctx context.Context, list ...*statement) error {
	for _, q := range list {
		if !strings.HasPrefix(q.sql, "SELECT") || !strings.Contains(q.sql, "FROM webhook.") {
			continue
		}
		var text []byte
		require.NoError(s.t, s.conn.run(ctx, &statement{sql: "EXPLAIN (ANALYZE, FORMAT JSON) " + q.sql, args: q.args,
			scan: func(r row) error { return r.Scan(&text) }}))
		var plans []struct{ Plan plan }
		require.NoError(s.t, json.Unmarshal(text, &plans))
		s.plans[q.sql] = plans[0].Plan
	}
	return s.conn.run(ctx, list...)
}

type spied struct {
	*pooled
	spy *spy
}

func (s spied) read(ctx context.Context, do func(conn) error) error {
	return s.pooled.read(ctx, func(c conn) error {
		s.spy.conn = c
		return do(s.spy)
	})
}

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	planRows    = 40_000
	planTenants = 8
	planTypes   = 10
)

// planStore is a store with many rows: of each tenant, endpoint and type as many, a few of them failed or
// pending. Autovacuum runs ANALYZE a minute after that, at the latest.
func planStore(t *testing.T, now time.Time) (*Store, []string) {
	ctx := t.Context()
	pool := pgtest.Pool(t, pgtest.Database(t), 2)
	st, err := New(ctx, pool)
	require.NoError(t, err)
	var ids id.Generator
	var endpoints []string
	for n := range planTenants {
		row, err := st.CreateEndpoint(ctx, webhook.EndpointRow{
			ID: ids.New(id.Endpoint, now), TenantID: fmt.Sprint("t", n), URL: "https://example.com", State: webhook.EndpointEnabled,
		})
		require.NoError(t, err)
		endpoints = append(endpoints, row.ID)
	}
	body := fmt.Sprintf(`\x%x`, packed.Body{Number: 1}.Pack(&webhook.DeliveryAttempt{Method: "POST"}))
	from, step := id.KeyAt(now.Add(-30*24*time.Hour)), (id.KeyAt(now)-id.KeyAt(now.Add(-30*24*time.Hour)))/planRows
	for _, sql := range []string{
		`INSERT INTO webhook.event (key, rest, tenant, type, created_at, payload, deliveries)
			SELECT $1 + n * $2, 1, 't' || n % %d, 'type.' || n / 8 % %d, (($1 + n * $2) >> 21) * 1000, 'x',
				int8send($1 + n * $2) || int8send(1) FROM generate_series(0, %d) n`,
		`INSERT INTO webhook.delivery (key, rest, event, endpoint, tenant, type, created_at, updated_at, state, ended_badly,
				failure_code, last_code, next_at, due_at, queued)
			SELECT $1 + n * $2, 1, $1 + n * $2, (SELECT min(num) FROM webhook.endpoint) + n % %[1]d, 't' || n % %[1]d,
				'type.' || n / 8 % %d, (($1 + n * $2) >> 21) * 1000, 0,
				CASE WHEN n % 1000 < 8 THEN 2 WHEN n % 500 < 16 THEN 0 ELSE 1 END, n % 1000 < 8,
				CASE WHEN n % 1000 < 8 THEN 'TIMEOUT' END, CASE WHEN n % 500 < 16 THEN 'TIMEOUT' END,
				CASE WHEN n % 500 < 16 AND n % 1000 >= 8 THEN 5 END, CASE WHEN n % 500 < 16 AND n % 1000 >= 8 THEN 5 END,
				n % 500 < 16 AND n % 1000 >= 8
			FROM generate_series(0, %d) n`,
		`INSERT INTO webhook.queue (endpoint, next_at, key, tenant, leased, over)
			SELECT endpoint, next_at, key, tenant, false, false FROM webhook.delivery WHERE state = 0 AND $1 + $2 > 0`,
		`INSERT INTO webhook.attempt (key, delivery, lease, endpoint, tenant, started_at, completed_at, status, error_code, body)
			SELECT key, key, 1, endpoint, tenant, created_at, created_at,
				CASE WHEN last_code IS NULL THEN 0 ELSE 1 END, last_code, '` + body + `' FROM webhook.delivery
			WHERE $1 + $2 > 0`,
	} {
		sql = strings.ReplaceAll(strings.ReplaceAll(sql, "%[1]d", fmt.Sprint(planTenants)), "$2", "$2::bigint")
		for _, n := range []int{planTenants, planTypes, planRows} {
			if strings.Contains(sql, "webhook.delivery (key") && n == planTenants {
				continue // named by its place
			}
			sql = strings.Replace(sql, "%d", fmt.Sprint(n), 1)
		}
		_, err := pool.Exec(ctx, strings.ReplaceAll(sql, "$1", "$1::bigint"), from, step)
		require.NoError(t, err, sql)
	}
	return st, endpoints
}

// Each list finds its page by an index, whatever it is filtered by. It looks at its page's rows in three
// tables, and what is pending, 960 here, goes by the queue first.
func TestListsReadLittle(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	st, endpoints := planStore(t, now)
	first, err := st.ListDeliveries(t.Context(), now, webhook.DeliveryQuery{AllTenants: true, After: id.Join(id.Delivery, id.KeyAt(now.Add(-24*time.Hour)), 0), Limit: 1})
	require.NoError(t, err)
	pool := st.src.(*pooled).pool
	spied := spied{st.src.(*pooled), &spy{t: t, plans: map[string]plan{}}}
	st.src = spied
	check := func(name string, most float64, list func() (int, error)) {
		t.Helper()
		clear(spied.spy.plans)
		n, err := list()
		require.NoError(t, err, name)
		require.Positive(t, n, "%s: the list is empty and shows nothing", name)
		require.NotEmpty(t, spied.spy.plans)
		for sql, p := range spied.spy.plans {
			require.LessOrEqual(t, p.read(), most, "%s, by%s\n%s", name, p.indexes(), sql)
		}
	}
	of := map[string]webhook.AttemptQuery{
		"a delivery": {TenantID: first[0].TenantID, DeliveryID: first[0].ID},
		"an event":   {TenantID: first[0].TenantID, EventID: first[0].EventID},
	}
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			_, err := pool.Exec(t.Context(), `VACUUM ANALYZE`)
			require.NoError(t, err)
		}
		for name, q := range of {
			check(fmt.Sprintf("attempts of %s, analyzed %v", name, analyzed), 10, func() (int, error) {
				items, err := st.ListAttempts(t.Context(), q)
				return len(items), err
			})
		}
	}
	for name, q := range map[string]webhook.DeliveryQuery{
		"none": {}, "endpoint": {EndpointID: endpoints[3]}, "pending": {Status: webhook.StatusPending},
		"success": {Status: webhook.StatusSuccess}, "failed": {Status: webhook.StatusFailed},
		"exhausted": {States: []webhook.DeliveryState{webhook.StateExhausted}}, "type": {EventType: "type.4"},
		"queued": {States: []webhook.DeliveryState{webhook.StateQueued}},
		"code":   {ErrorCode: webhook.CodeTimeout}, "code of an endpoint": {ErrorCode: webhook.CodeTimeout, EndpointID: endpoints[3]},
		"failed at an endpoint":  {Status: webhook.StatusFailed, EndpointID: endpoints[3]},
		"pending at an endpoint": {Status: webhook.StatusPending, EndpointID: endpoints[3]},
	} {
		for _, all := range []bool{true, false} {
			for _, timed := range []bool{true, false} {
				q := q
				q.AllTenants, q.TenantID = all, "t3"
				if timed {
					q.Since, q.Until = now.Add(-20*24*time.Hour), now.Add(-10*24*time.Hour)
				}
				check(fmt.Sprintf("deliveries by %s, all tenants %v, time %v", name, all, timed), 3500, func() (int, error) {
					items, err := st.ListDeliveries(t.Context(), now, q)
					return len(items), err
				})
			}
		}
	}
	for name, q := range map[string]webhook.AttemptQuery{
		"none": {}, "endpoint": {EndpointID: endpoints[3]}, "status": {Status: webhook.AttemptFailed}, "code": {ErrorCode: webhook.CodeTimeout},
	} {
		for _, all := range []bool{true, false} {
			for _, timed := range []bool{true, false} {
				q := q
				q.AllTenants, q.TenantID = all, "t3"
				if timed {
					q.Since, q.Until = now.Add(-20*24*time.Hour), now.Add(-10*24*time.Hour)
				}
				check(fmt.Sprintf("attempts by %s, all tenants %v, time %v", name, all, timed), 1000, func() (int, error) {
					items, err := st.ListAttempts(t.Context(), q)
					return len(items), err
				})
			}
		}
	}
	for _, all := range []bool{true, false} {
		for _, typ := range []string{"", "type.4"} {
			for _, until := range []time.Time{{}, now.Add(-10 * 24 * time.Hour)} {
				check(fmt.Sprintf("events of %q, all tenants %v, until %v", typ, all, until), 1500, func() (int, error) {
					items, err := st.ListEvents(t.Context(), webhook.EventQuery{AllTenants: all, TenantID: "t3", Type: typ, Until: until})
					return len(items), err
				})
			}
		}
	}
}
