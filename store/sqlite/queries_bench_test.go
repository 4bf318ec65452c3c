package sqlite_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// BenchmarkQueries lists and counts in a large database, see openLarge: the first page; pages far
// behind; pages within a time. docs/queries.md has the numbers at ten million rows.
//
//	WEBHOOK_LARGE_DB=/tmp/large.db WEBHOOK_LARGE_ROWS=10000000 go test -run - -bench Queries -benchtime 300x
func BenchmarkQueries(b *testing.B) {
	st, l := openLarge(b)
	for _, scope := range []struct {
		name   string
		tenant string
		all    bool
	}{{"all", "", true}, {"big", bigTenant, false}, {"small", smallTenant, false}} {
		for _, c := range []struct {
			name string
			q    webhook.DeliveryQuery
		}{
			{"none", webhook.DeliveryQuery{}},
			{"failed", webhook.DeliveryQuery{Status: webhook.StatusFailed}},
			{"pending", webhook.DeliveryQuery{Status: webhook.StatusPending}},
			{"type", webhook.DeliveryQuery{EventType: "type.5"}},
			{"type=elsewhere", webhook.DeliveryQuery{EventType: "type.foreign"}},
			{"type=rare", webhook.DeliveryQuery{EventType: "type.rare"}},
			{"code", webhook.DeliveryQuery{ErrorCode: webhook.CodeBadResponse}},
			{"code=rare", webhook.DeliveryQuery{ErrorCode: "SSL_CERT_EXPIRED"}},
			{"endpoint=busy", webhook.DeliveryQuery{EndpointID: l.endpoint(1)}},
			{"endpoint=busy,failed", webhook.DeliveryQuery{EndpointID: l.endpoint(1), Status: webhook.StatusFailed}},
			{"endpoint=busy,code=rare", webhook.DeliveryQuery{EndpointID: l.endpoint(1), ErrorCode: "SSL_CERT_EXPIRED"}},
			{"event", webhook.DeliveryQuery{EventID: l.event(l.rows / 3)}},
		} {
			c.q.TenantID, c.q.AllTenants = scope.tenant, scope.all
			l.pages(b, "deliveries/"+scope.name+"/"+c.name, func(ctx context.Context, at int, since, until time.Time) error {
				q := c.q
				q.Since, q.Until = since, until
				if at > 0 {
					q.After = l.delivery(at)
				}
				_, err := st.ListDeliveries(ctx, l.until, q)
				return err
			})
		}
		for _, c := range []struct {
			name string
			q    webhook.AttemptQuery
		}{
			{"none", webhook.AttemptQuery{}},
			{"failed", webhook.AttemptQuery{Status: webhook.AttemptFailed}},
			{"code", webhook.AttemptQuery{ErrorCode: webhook.CodeBadResponse}},
			{"code=rare", webhook.AttemptQuery{ErrorCode: "SSL_CERT_EXPIRED"}},
			{"endpoint=busy", webhook.AttemptQuery{EndpointID: l.endpoint(1)}},
			{"endpoint=busy,failed", webhook.AttemptQuery{EndpointID: l.endpoint(1), Status: webhook.AttemptFailed}},
			{"event", webhook.AttemptQuery{EventID: l.event(l.rows / 3)}},
		} {
			c.q.TenantID, c.q.AllTenants = scope.tenant, scope.all
			l.pages(b, "attempts/"+scope.name+"/"+c.name, func(ctx context.Context, at int, since, until time.Time) error {
				q := c.q
				q.Since, q.Until = since, until
				if at > 0 {
					q.After = l.attempt(at)
				}
				_, err := st.ListAttempts(ctx, q)
				return err
			})
		}
		for _, typ := range []string{"", "type.5", "type.foreign", "type.rare"} {
			name := "type=" + typ
			if typ == "" {
				name = "none"
			}
			l.pages(b, "events/"+scope.name+"/"+name, func(ctx context.Context, at int, since, until time.Time) error {
				q := webhook.EventQuery{TenantID: scope.tenant, AllTenants: scope.all, Type: typ, Since: since, Until: until}
				if at > 0 {
					q.After = l.event(at)
				}
				_, err := st.ListEvents(ctx, q)
				return err
			})
		}
		for _, s := range []struct{ name, endpoint string }{{"all", ""}, {"endpoint=busy", l.endpoint(1)}} {
			b.Run("stats/"+scope.name+"/"+s.name, func(b *testing.B) {
				quantiles(b, func() func() error {
					return func() error {
						_, err := st.Stats(b.Context(), l.until, webhook.StatsQuery{TenantID: scope.tenant, AllTenants: scope.all, EndpointID: s.endpoint})
						return err
					}
				})
			})
		}
	}
}

// pages measures the first page, pages at random places, and pages of a random stretch of time.
func (l large) pages(b *testing.B, name string, list func(ctx context.Context, at int, since, until time.Time) error) {
	random := rand.New(rand.NewPCG(1, 2))
	b.Run(name+"/first", func(b *testing.B) {
		quantiles(b, func() func() error {
			return func() error { return list(b.Context(), 0, time.Time{}, time.Time{}) }
		})
	})
	b.Run(name+"/behind", func(b *testing.B) {
		quantiles(b, func() func() error {
			at := 1 + random.IntN(l.rows-1)
			return func() error { return list(b.Context(), at, time.Time{}, time.Time{}) }
		})
	})
	b.Run(name+"/time", func(b *testing.B) {
		quantiles(b, func() func() error {
			since := l.since().Add(time.Duration(random.Int64N(int64(largeSpan))))
			until := since.Add(time.Duration(random.Int64N(int64(largeSpan / 3))))
			return func() error { return list(b.Context(), 0, since, until) }
		})
	})
}

// quantiles reports the median and the 99th percentile of pages in microseconds. Each page is read three
// times and the median counts: what else runs on a machine would be most of the percentile.
func quantiles(b *testing.B, page func() func() error) {
	require.NoError(b, page()()) // statements are prepared, as in a service that runs
	var took []time.Duration
	for b.Loop() {
		read := page()
		var times [3]time.Duration
		for i := range times {
			began := time.Now()
			err := read()
			times[i] = time.Since(began)
			require.NoError(b, err)
		}
		slices.Sort(times[:])
		took = append(took, times[1])
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(0, "ns/op")
}
