//go:build unix

package sqlite_test

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/sqlite"
)

// BenchmarkCommit is the hot path: 64 fresh deliveries handed over, and the results of the 64 before.
func BenchmarkCommit(b *testing.B) {
	for _, endpoints := range []int{1, 64} {
		b.Run(fmt.Sprintf("endpoints=%d", endpoints), func(b *testing.B) {
			st, err := sqlite.Open(filepath.Join(b.TempDir(), "webhooks.db"))
			require.NoError(b, err)
			defer func() { require.NoError(b, st.Close()) }()
			m := &maker{t: b, st: st, now: start}
			var to []string
			for range endpoints {
				to = append(to, m.endpoint())
			}
			generation := m.generation()
			var last webhook.Batch
			b.ReportAllocs()
			spent := time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				m.now = m.now.Add(10 * time.Millisecond)
				batch := webhook.Batch{Now: m.now}
				for i := range 64 {
					batch.Sends = append(batch.Sends, m.send(generation, to[i%len(to)], "owner"))
				}
				for _, g := range last.Sends {
					batch.Outcomes = append(batch.Outcomes, m.success(g.Events[0].Deliveries[0].ID))
				}
				last = batch
				b.StartTimer()
				before := cpu(b)
				r, err := st.Commit(b.Context(), batch)
				spent += cpu(b) - before
				require.NoError(b, err)
				for _, o := range r.Outcomes {
					if !o.Applied {
						b.Fatal("an outcome was not applied")
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/64, "µs/delivery")
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/64, "cpu-µs/delivery")
		})
	}
}

// cpu returns the time that this process has computed: the disk of a test machine says little.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkClaim finds 50 due deliveries beside a backlog of a million on one endpoint that got all it
// may, and 100,000 endpoints whose retries are not due. With -short both are a twentieth.
func BenchmarkClaim(b *testing.B) {
	scale := 1
	if testing.Short() {
		scale = 20
	}
	st, err := sqlite.Open(filepath.Join(b.TempDir(), "webhooks.db"))
	require.NoError(b, err)
	defer func() { require.NoError(b, st.Close()) }()
	m := &maker{t: b, st: st, now: start}
	slow := m.endpoint()
	fill(b, st, 1_000_000/scale, 100_000/scale)
	claim := func(b *testing.B, limit int, caps map[string]int) []webhook.Claim {
		r, err := st.Claim(b.Context(), webhook.ClaimRequest{
			Now: m.now, LeaseUntil: m.now.Add(time.Hour), Limit: limit, PerEndpoint: 8, Caps: caps, Owner: "owner",
			NewAttemptID: func() string { return m.New(id.Attempt, m.now) },
		})
		require.NoError(b, err)
		return r.Claims
	}
	b.Run("a share of the backlog", func(b *testing.B) {
		claimBench(b, 8, func() {}, func() []webhook.Claim { return claim(b, 50, nil) }, func(claims []webhook.Claim) {
			batch := webhook.Batch{Now: m.now}
			for _, c := range claims {
				batch.Returned = append(batch.Returned, webhook.Return{DeliveryID: c.DeliveryID, Lease: c.Lease})
			}
			_, err := st.Commit(b.Context(), batch)
			require.NoError(b, err)
		})
	})
	var busy []string
	for range 50 {
		busy = append(busy, m.endpoint())
	}
	generation := m.generation()
	b.Run("one of each of 50 endpoints", func(b *testing.B) {
		claimBench(b, 50, func() {
			m.now = m.now.Add(time.Millisecond)
			batch := webhook.Batch{Now: m.now}
			for i := range 50 {
				batch.Sends = append(batch.Sends, m.send(generation, busy[i], ""))
			}
			_, err := st.Commit(b.Context(), batch)
			require.NoError(b, err)
		}, func() []webhook.Claim { return claim(b, 50, map[string]int{slow: 0}) }, func([]webhook.Claim) {})
	})
}

// claimBench measures claim alone, which must return so many.
func claimBench(b *testing.B, want int, before func(), claim func() []webhook.Claim, after func([]webhook.Claim)) {
	b.ReportAllocs()
	spent := time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		before()
		used := cpu(b)
		b.StartTimer()
		claims := claim()
		b.StopTimer()
		spent += cpu(b) - used
		if len(claims) != want {
			b.Fatalf("%d claims", len(claims))
		}
		after(claims)
		b.StartTimer()
	}
	b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkClaimIdle asks when nothing is due, as every poll of a quiet service does.
func BenchmarkClaimIdle(b *testing.B) {
	st, err := sqlite.Open(filepath.Join(b.TempDir(), "webhooks.db"))
	require.NoError(b, err)
	defer func() { require.NoError(b, st.Close()) }()
	m := &maker{t: b, st: st, now: start}
	_, err = st.Commit(b.Context(), webhook.Batch{Now: m.now, Sends: []webhook.SendGroup{m.send(1, m.endpoint(), "owner")}})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		r, err := st.Claim(b.Context(), webhook.ClaimRequest{
			Now: m.now, LeaseUntil: m.now.Add(time.Minute), Limit: 50, PerEndpoint: 8, Owner: "owner",
		})
		require.NoError(b, err)
		if len(r.Claims) != 0 {
			b.Fatal("claimed what is leased")
		}
	}
}

// fill writes, in bulk, due deliveries of the first endpoint and endpoints with one retry later.
func fill(b *testing.B, st *sqlite.Store, due, waiting int) {
	now := start.UnixMicro()
	key := id.KeyAt(start.Add(-time.Hour))
	for _, s := range []struct {
		sql  string
		args []any
	}{
		{`INSERT OR IGNORE INTO webhook_name (text) VALUES (''), ('order.created')`, nil},
		{`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT ?)
			INSERT INTO webhook_delivery (key, rest, event, endpoint, tenant, type, next_at, due_at, created_at, updated_at)
			SELECT ? + i, 1, ?, 1, 1, 2, ? + i, ? + i, ?, ? FROM n`,
			[]any{due, key, key, now - 1e9, now - 1e9, now, now}},
		{`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?)
			INSERT INTO webhook_endpoint (num, key, rest, tenant, state, disabled_reason, url, ordered, failures, exhausted,
				created_at, updated_at, generation)
			SELECT 1000 + i, ? + i, 1, 1, 0, '', 'https://example.com', 0, 0, 0, ?, ?, 2 FROM n`,
			[]any{waiting, key, now, now}},
		{`INSERT INTO webhook_delivery (key, rest, event, endpoint, tenant, type, next_at, due_at, created_at, updated_at)
			SELECT key + 10000000, 1, ?, num, 1, 2, ? + num, ? + num, ?, ? FROM webhook_endpoint WHERE num > 1000`,
			[]any{key, now + 1e12, now + 1e12, now, now}},
		{`INSERT INTO webhook_event (key, rest, tenant, type, created_at, payload) VALUES (?, 1, 1, 2, ?, x'7b7d')`,
			[]any{key, now}},
		{`INSERT INTO webhook_head (endpoint, next_at, held)
			SELECT endpoint, min(next_at), 0 FROM webhook_delivery WHERE state = 0 GROUP BY endpoint`, nil},
	} {
		_, err := st.DB().Exec(s.sql, s.args...)
		require.NoError(b, err)
	}
}
