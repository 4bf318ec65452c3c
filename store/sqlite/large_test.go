package sqlite_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// large is a database as it looks after 30 days: one tenant has half of the rows and of 100,000
// endpoints, 9,999 others have the rest. Of 102 types some are common and one is rare; one is common
// among the others and nearly unknown to the big tenant. Two in a hundred deliveries failed, with two
// common codes and a rare one; the newest are pending. The values of the attribute "order" are unique.
type large struct {
	rows  int
	until time.Time
	path  string
}

const (
	bigTenant   = "big"
	smallTenant = "tenant-1234"
	largeSpan   = 30 * 24 * time.Hour
	largePart   = 1_000_000 // rows in one transaction
	largeEnds   = 100_000
)

func (l large) since() time.Time    { return l.until.Add(-largeSpan) }
func (l large) step() time.Duration { return largeSpan / time.Duration(l.rows) }

// endpoint returns the ID of the nth endpoint, from 1.
func (l large) endpoint(n int) string {
	return id.Join(id.Endpoint, id.KeyAt(l.since().Add(-time.Hour))+int64(n), 1)
}

func tenantOf(endpoint int) string {
	if endpoint <= largeEnds/2 {
		return bigTenant
	}
	return fmt.Sprintf("tenant-%d", 2+endpoint%9999)
}

// at returns the time of the ith row, from 0.
func (l large) at(i int) time.Time { return l.since().Add(time.Duration(i) * l.step()) }

func (l large) event(i int) string    { return id.Join(id.Event, id.KeyAt(l.at(i)), 1) }
func (l large) delivery(i int) string { return id.Join(id.Delivery, id.KeyAt(l.at(i))+1, 1) }
func (l large) attempt(i int) string  { return id.Join(id.Attempt, id.KeyAt(l.at(i))+2, 1) }

// fill writes the rows without indexes and builds those afterwards.
func (l large) fill(t testing.TB, path string) {
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	db := st.DB()
	db.SetMaxOpenConns(1)
	run := func(sql string, args ...any) {
		t.Helper()
		began := time.Now()
		_, err := db.Exec(sql, args...)
		require.NoError(t, err, sql)
		if spent := time.Since(began); spent > 5*time.Second {
			t.Logf("%v %.60s", spent.Round(time.Second), sql)
		}
	}
	l.attemptOnce(t, st, run)
	for _, pragma := range []string{"synchronous = OFF", "cache_size = -400000", "wal_autocheckpoint = 20000"} {
		run("PRAGMA " + pragma)
	}
	var names, statements []string
	indexes, err := db.Query(`SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
		AND tbl_name IN ('webhook_event', 'webhook_delivery', 'webhook_attempt')`)
	require.NoError(t, err)
	defer indexes.Close() // the only connection is free once Next is through
	for indexes.Next() {
		var name, sql string
		require.NoError(t, indexes.Scan(&name, &sql))
		names, statements = append(names, name), append(statements, sql)
	}
	require.NoError(t, indexes.Err())
	for _, name := range names {
		run("DROP INDEX " + name)
	}
	run(largeNames)
	key := id.KeyAt(l.since().Add(-time.Hour))
	run(largeEndpoints, largeEnds, key, l.since().UnixMicro(), l.since().UnixMicro())
	for from := 0; from < l.rows; from += largePart {
		to := min(from+largePart, l.rows)
		for _, part := range []string{largeEvents, largeDeliveries, largeAttempts} {
			run(largeRows+part, from, to-from, l.rows, l.since().UnixMilli(), l.step().Microseconds())
		}
	}
	for _, sql := range statements {
		run(sql)
	}
	for _, sql := range largeCounters {
		run(sql)
	}
	run("PRAGMA wal_checkpoint(TRUNCATE)")
	require.NoError(t, st.Close())
}

// attemptOnce keeps one attempt, in the store's own encoding, to be copied.
func (l large) attemptOnce(t testing.TB, st *sqlite.Store, run func(string, ...any)) {
	m := &maker{t: t, st: st, now: l.since().Add(-2 * time.Hour)}
	g := m.send(1, m.endpoint(), "owner")
	g.Generation = m.generation()
	for _, batch := range []webhook.Batch{{Sends: []webhook.SendGroup{g}}, {Outcomes: []webhook.Outcome{m.success(g.Events[0].Deliveries[0].ID)}}} {
		batch.Now = m.now
		_, err := st.Commit(t.Context(), batch)
		require.NoError(t, err)
	}
	run(`CREATE TEMP TABLE given_attempt AS SELECT body, capture FROM webhook_attempt`)
	for _, table := range []string{"attempt", "delivery", "handed", "event", "stat", "head", "endpoint", "name"} {
		run("DELETE FROM webhook_" + table)
	}
}

const largeNames = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
	INSERT INTO webhook_name (num, text)
	SELECT i, iif(i = 1, 'big', 'tenant-' || i) FROM n
	UNION ALL SELECT 20000 + i, 'type.' || i FROM n WHERE i <= 100
	UNION ALL VALUES (20201, 'type.foreign'), (20202, 'type.rare'),
		(30001, 'BAD_RESPONSE'), (30002, 'TIMEOUT'), (30003, 'SSL_CERT_EXPIRED')`

const largeEndpoints = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
	INSERT INTO webhook_endpoint (num, key, rest, tenant, state, disabled_reason, url, ordered, failures, exhausted,
		created_at, updated_at, generation)
	SELECT i, ? + i, 1, iif(i <= 50000, 1, 2 + i % 9999), iif(i % 1000 = 0, 1, 0), '', 'https://example.com/hook', 0, 0, 0,
		?, ?, 2 FROM n`

// largeRows are the rows: their number, key and time, and what they have by chance.
const largeRows = `WITH RECURSIVE given (first, many, total, began, step) AS (VALUES (?, ?, ?, ?, ?)),
	n (i) AS (SELECT first FROM given UNION ALL SELECT i + 1 FROM n, given WHERE i + 1 < first + many),
	r1 AS (SELECT i, total, began + i * step / 1000 AS ms, (i * 2654435761) & 4294967295 AS h,
		(i * 40503 + 977) % 100003 AS g FROM n, given),
	r2 AS (SELECT *, CASE WHEN h % 10 = 0 THEN 1 WHEN h % 2 = 0 THEN 1 + g % 50000 ELSE 50001 + g % 50000 END AS endpoint,
		CASE WHEN i >= total - 5000 THEN 0 WHEN g % 50 = 0 THEN 2 ELSE 1 END AS state FROM r1),
	r AS (SELECT *, iif(endpoint <= 50000, 1, 2 + endpoint % 9999) AS tenant,
		CASE WHEN i % (total / 20) = 3 THEN 20202
			WHEN endpoint > 50000 AND h % 20 = 1 OR i IN (total / 10, total / 2, total - 7) THEN 20201
			ELSE 20001 + ((h >> 5) % 100 * ((h >> 12) % 100)) / 100 END AS type,
		CASE WHEN state <> 2 THEN NULL WHEN i % (total / 40) < 50 THEN 30003 WHEN h % 3 = 0 THEN 30002 ELSE 30001 END AS code
		FROM r2)
	`

const largeEvents = `INSERT INTO webhook_event (key, rest, tenant, type, created_at, attributes, deliveries, payload)
	SELECT ms << 21, 1, tenant, type, ms * 1000, '{"order":"o-' || i || '"}',
		unhex(printf('%016x%016x', (ms << 21) + 1, 1)), x'7b7d' FROM r`

const largeDeliveries = `INSERT INTO webhook_delivery (key, rest, event, endpoint, tenant, type, state, next_at, due_at,
		lease, attempts, failed, last_at, last_status, last_code, failure_code, created_at, updated_at, finished_at, own)
	SELECT (ms << 21) + 1, 1, ms << 21, endpoint, tenant, type, state, iif(state = 0, ms * 1000, NULL),
		iif(state = 0, ms * 1000, NULL), state > 0, state > 0, state = 2, iif(state > 0, ms * 1000, NULL),
		CASE WHEN state = 1 THEN 200 WHEN code = 30001 THEN 500 END, code, code, ms * 1000, ms * 1000 + 30000,
		iif(state > 0, ms * 1000 + 30000, NULL), state = 1 FROM r`

// largeAttempts differ in what lists look for; the rest is that of the one attempt in given_attempt. Those that
// succeeded have the keys of their deliveries.
const largeAttempts = `INSERT INTO webhook_attempt (key, delivery, lease, endpoint, tenant, status, error_code, started_at,
		completed_at, body, capture)
	SELECT (ms << 21) + iif(state = 1, 1, 2), (ms << 21) + 1, 1, endpoint, tenant, state = 2, code, ms * 1000, ms * 1000 + 30000,
		given_attempt.body, given_attempt.capture FROM r, given_attempt WHERE state > 0`

// largeCounters bring the counters and heads in line with the rows.
var largeCounters = []string{
	`INSERT INTO webhook_stat SELECT endpoint, 0, state, count(*) FROM webhook_delivery GROUP BY 1, 3`,
	`INSERT INTO webhook_stat SELECT endpoint, completed_at - completed_at % 3600000000, 3 + 16 * (status > 0), count(*)
		FROM webhook_attempt GROUP BY 1, 2, 3`,
	`INSERT INTO webhook_stat SELECT -e.tenant, s.hour, s.kind, sum(s.n) FROM webhook_stat s
		JOIN webhook_endpoint e ON e.num = s.endpoint GROUP BY 1, 2, 3`,
	`INSERT INTO webhook_stat SELECT 0, hour, kind, sum(n) FROM webhook_stat WHERE endpoint > 0 GROUP BY 2, 3`,
	`INSERT INTO webhook_head (endpoint, next_at, held)
		SELECT d.endpoint, min(d.next_at), e.state > 0 FROM webhook_delivery d JOIN webhook_endpoint e ON e.num = d.endpoint
		WHERE d.state = 0 GROUP BY 1`,
}

// openLarge opens the database that WEBHOOK_LARGE_DB names, and fills it first if it is not there;
// without that, a small one that goes away. WEBHOOK_LARGE_ROWS is the number of deliveries, 20,000.
func openLarge(t testing.TB, opts ...sqlite.Option) (*sqlite.Store, large) {
	l := large{rows: 20_000, until: start}
	if s := os.Getenv("WEBHOOK_LARGE_ROWS"); s != "" {
		_, err := fmt.Sscan(s, &l.rows)
		require.NoError(t, err)
	}
	if l.path = os.Getenv("WEBHOOK_LARGE_DB"); l.path == "" {
		l.path = t.TempDir() + "/large.db"
	}
	if _, err := os.Stat(l.path); err != nil {
		l.fill(t, l.path)
	}
	st, err := sqlite.Open(l.path, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st, l
}
