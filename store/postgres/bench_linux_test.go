package postgres_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
)

// meter reads the CPU time of this process and of a server, all of its processes.
type meter struct{ server int }

func (m meter) read() (client, server time.Duration) {
	var own syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &own)
	client = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	processes, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range processes {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has just ended
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		number := func(i int) int { n, _ := strconv.Atoi(fields[i-3]); return n } // as proc(5) counts
		self, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		const tick = 10 * time.Millisecond
		if number(4) == m.server || self == m.server {
			server += time.Duration(number(14)+number(15)) * tick
		}
		if self == m.server {
			server += time.Duration(number(16)+number(17)) * tick
		}
	}
	return client, server
}

// measure runs a benchmark against a server that syncs, and reports the CPU time of each delivery.
func measure(b *testing.B, prepare func(m *maker, st *postgres.Store) (once func() int)) {
	cluster, err := pgtest.Start(context.Background(), "max_wal_size = 4GB", "shared_buffers = 256MB")
	if err != nil {
		b.Skip("SKIPPED:", err)
	}
	b.Cleanup(func() { require.NoError(b, cluster.Stop()) })
	pool, err := pgxpool.New(b.Context(), cluster.URL("postgres"))
	require.NoError(b, err)
	b.Cleanup(pool.Close)
	st := open(b, pool)
	once := prepare(&maker{t: b, st: st, now: time.Now()}, st)
	for range 20 {
		once()
	}
	pid, err := cluster.Pid()
	require.NoError(b, err)
	m := meter{pid}
	deliveries := 0
	size := func(sql string) (n float64) {
		require.NoError(b, pool.QueryRow(b.Context(), sql).Scan(&n))
		return n
	}
	const wal, disk = `SELECT (pg_current_wal_lsn() - '0/0')::float8`, `SELECT pg_database_size(current_database())::float8`
	walBefore, diskBefore := size(wal), size(disk)
	client, server := m.read()
	b.ResetTimer()
	for b.Loop() {
		deliveries += once()
	}
	b.StopTimer()
	client2, server2 := m.read()
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(deliveries) }
	b.ReportMetric(per(client2-client), "client-µs/delivery")
	b.ReportMetric(per(server2-server), "server-µs/delivery")
	b.ReportMetric(float64(deliveries)/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric((size(wal)-walBefore)/float64(deliveries), "WAL-B/delivery")
	b.ReportMetric((size(disk)-diskBefore)/float64(deliveries), "disk-B/delivery")
}

// A delivery's whole write set: the commit that stores it, and the commit of its result.
func BenchmarkCommit(b *testing.B) {
	for _, of := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("of=%d", of), func(b *testing.B) {
			measure(b, func(m *maker, st *postgres.Store) func() int {
				endpoints := make([]string, 16)
				for i := range endpoints {
					endpoints[i] = m.endpoint()
				}
				generation := m.generation()
				return func() int {
					m.now = time.Now()
					batch := webhook.Batch{Now: m.now}
					results := webhook.Batch{Now: m.now}
					for i := range of {
						g := m.send(generation, endpoints[i%len(endpoints)], "me")
						batch.Sends = append(batch.Sends, g)
						results.Outcomes = append(results.Outcomes, m.success(g.Events[0].Deliveries[0].ID))
					}
					for _, x := range []webhook.Batch{batch, results} {
						_, err := st.Commit(context.Background(), x)
						require.NoError(m.t, err)
					}
					return of
				}
			})
		})
	}
}

// A claim of 64 out of a backlog.
func BenchmarkClaim(b *testing.B) {
	measure(b, func(m *maker, st *postgres.Store) func() int {
		endpoints := make([]string, 16)
		for i := range endpoints {
			endpoints[i] = m.endpoint()
		}
		generation := m.generation()
		for range 300 {
			batch := webhook.Batch{Now: m.now}
			for i := range 256 {
				batch.Sends = append(batch.Sends, m.send(generation, endpoints[i%len(endpoints)], ""))
			}
			_, err := st.Commit(context.Background(), batch)
			require.NoError(m.t, err)
		}
		return func() int {
			res, err := st.Claim(context.Background(), webhook.ClaimRequest{
				Now: m.now, LeaseUntil: m.now.Add(time.Hour), Limit: 64, PerEndpoint: 64, Owner: "me",
				NewAttemptID: func() string { return m.New(id.Attempt, m.now) },
			})
			require.NoError(m.t, err)
			require.NotEmpty(m.t, res.Claims, "the backlog is used up; take a shorter -benchtime")
			return len(res.Claims)
		}
	})
}
