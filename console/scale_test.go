package console_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/console/internal/sample"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/sqlite"
)

// budget is what any page may take, however much is stored.
const budget = 300 * time.Millisecond

// TestPagesAreFast asks for every page and every route of the API over a large store, through a socket,
// and prints what each took. In CI the store is small; then only what is grossly slow is found.
//
//	CONSOLE_DELIVERIES=5000000 go test -run TestPagesAreFast/sqlite -timeout 1h -v ./console
//
// CONSOLE_SQLITE (a file) and CONSOLE_POSTGRES (a connection string) name databases to fill once and keep;
// CONSOLE_ROUNDS says how often each page is asked for; CONSOLE_COLD is a command that is run before each page's
// first request, to empty caches.
func TestPagesAreFast(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		file := cmp.Or(os.Getenv("CONSOLE_SQLITE"), filepath.Join(t.TempDir(), "large.db"))
		store, err := sqlite.Open(file)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		pagesAreFast(t, store, sample.SQLite(store.DB()))
	})
	t.Run("postgres", func(t *testing.T) {
		dsn := os.Getenv("CONSOLE_POSTGRES")
		if dsn == "" {
			dsn = pgtest.Database(t)
		}
		store, err := postgres.New(t.Context(), pgtest.Pool(t, dsn, 8))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, store.Close()) })
		db, err := sql.Open("pgx", dsn)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		pagesAreFast(t, store, sample.Postgres(db))
	})
}

func pagesAreFast(t *testing.T, store webhook.Store, db sample.Database) {
	d, err := webhook.New(store, webhook.Config{})
	require.NoError(t, err)
	fillOnce(t, d, store, db)
	for _, caller := range []struct {
		name   string
		access console.Access
	}{
		{"operator", console.Access{AllTenants: true, Write: true}},
		{"large tenant", console.Access{TenantID: "tenant-0", Write: true}},
		{"small tenant", console.Access{TenantID: "tenant-17", Write: true}},
	} {
		server := httptest.NewServer(console.New(d, console.Config{
			Authorize: func(*http.Request) (console.Access, bool) { return caller.access, true },
		}))
		s := scale{T: t, base: server.URL, names: scaleNames(t, d, caller.access)}
		for _, ask := range scaleRequests() {
			s.measure(caller.name, ask)
		}
		server.Close()
	}
}

// fillOnce fills an empty store.
func fillOnce(t *testing.T, d *webhook.Dispatcher, store webhook.Store, db sample.Database) {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("CONSOLE_DELIVERIES"), "2000"))
	require.NoError(t, err)
	endpoints, err := d.ListEndpoints(t.Context(), webhook.EndpointQuery{AllTenants: true, Limit: 1})
	require.NoError(t, err)
	if len(endpoints) == 0 {
		_, err = sample.FillLarge(t.Context(), d, store, db, n, time.Now())
		require.NoError(t, err)
		for _, tenantID := range []string{"tenant-0", "tenant-17"} {
			_, err = d.BulkRetry(t.Context(), webhook.DeliveryQuery{TenantID: tenantID}, webhook.BulkRetryOptions{})
			require.NoError(t, err)
		}
	}
	stats, err := d.Stats(t.Context(), webhook.StatsQuery{AllTenants: true})
	require.NoError(t, err)
	counted := stats.Pending + stats.Succeeded + stats.Exhausted
	t.Logf("%d deliveries: %d succeeded, %d exhausted, %d pending, of which %d held", counted, stats.Succeeded, stats.Exhausted, stats.Pending, stats.Held)
	rows := int64(0)
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+db.Prefix+`delivery`).Scan(&rows))
	require.Equal(t, rows, counted, "counters")
	require.Greater(t, rows, int64(n)*9/10)
}

// scaleNames are the records that requests speak of.
func scaleNames(t *testing.T, d *webhook.Dispatcher, a console.Access) *strings.Replacer {
	ctx := t.Context()
	endpoints, err := d.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 500})
	require.NoError(t, err)
	slices.SortFunc(endpoints, func(a, b webhook.Endpoint) int { return cmp.Compare(len(a.URL), len(b.URL)) })
	query := webhook.DeliveryQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 1}
	newest, err := d.ListDeliveries(ctx, query)
	require.NoError(t, err)
	require.NotEmpty(t, newest)
	attempted := webhook.AttemptQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 1}
	query.Until = time.Now().Add(-10 * 24 * time.Hour)
	middle, err := d.ListDeliveries(ctx, query)
	require.NoError(t, err)
	if len(middle) == 0 { // a small tenant in a small store may have nothing as old
		middle = newest
	} else {
		attempted.Until = query.Until
	}
	attempts, err := d.ListAttempts(ctx, attempted)
	require.NoError(t, err)
	if len(attempts) == 0 { // a delivery as old may have been attempted later
		attempted.Until = time.Time{}
		attempts, err = d.ListAttempts(ctx, attempted)
		require.NoError(t, err)
	}
	require.NotEmpty(t, attempts)
	bulk, err := d.ListBulkRetries(ctx, webhook.BulkRetryQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 1})
	require.NoError(t, err)
	first, last := endpoints[0], endpoints[len(endpoints)-1]
	for _, e := range endpoints {
		if strings.HasSuffix(e.URL, "/r0.example/hooks") {
			first = e
		}
	}
	return strings.NewReplacer("{busy}", first.ID, "{quiet}", last.ID, "{delivery}", middle[0].ID, "{event}", newest[0].EventID, "{behind}", middle[0].ID,
		"{behind-event}", middle[0].EventID, "{behind-attempt}", attempts[0].ID, "{bulk}", bulk[0].ID)
}

// scaleRequests are the pages and the routes of the API, with the filters that people use, among them some
// that match little or nothing. A body stands behind a space.
func scaleRequests() []string {
	list := strings.Fields(`/ /?range=7d /events /events?eventType=order.paid /events?cursor={behind-event} /events/{event} /endpoints
		/endpoints?state=disabled /endpoints/{busy} /endpoints/{quiet} /deliveries/{delivery} /bulk-retries /bulk-retries/{bulk}
		/search?q={delivery} /search?q=order.paid /assets/console.css`)
	filters := strings.Fields(`status=pending status=success status=failed endpointId={busy} endpointId={busy}&status=failed
		endpointId={busy}&status=pending endpointId={busy}&status=success endpointId={quiet} endpointId={quiet}&status=failed endpointId={busy}&eventType=order.paid
		endpointId={busy}&eventType=order.paid&status=failed endpointId={quiet}&eventType=order.paid&since=24h
		eventType=order.paid eventType=order.paid&status=failed eventType=order.paid&status=pending eventType=never.sent
		errorCode=BAD_RESPONSE errorCode=CONNECTION_REFUSED errorCode=TIMEOUT errorCode=BAD_RESPONSE&status=success errorCode=CONNECTION_REFUSED&status=success
		errorCode=BAD_RESPONSE&eventType=invoice.paid&since=24h
		since=1h since=24h since=24h&status=failed since=24h&status=pending since=7d&errorCode=BAD_RESPONSE since=7d&endpointId={busy}&status=failed since=10d&until=9d since=10d&until=9d&status=failed
		until=19d until=30d finishedSince=1h finishedSince=24h&status=failed responseClass=2xx responseClass=5xx responseClass=4xx responseClass=3xx responseClass=5xx&status=failed
		responseClass=5xx&endpointId={busy} state=queued state=scheduled state=sending state=held state=succeeded state=exhausted state=canceled state=gone state=exhausted&endpointId={quiet}
		attribute.region=eu attribute.region=mars attribute.region=eu&status=failed eventId={event} cursor={behind} cursor={behind}&status=failed cursor={behind}&endpointId={busy}
		cursor={behind}&eventType=order.paid cursor={behind}&errorCode=BAD_RESPONSE`)
	list = append(list, "/deliveries")
	for _, f := range filters {
		list = append(list, "/deliveries?"+f)
	}
	for _, f := range []string{"since=24h", "errorCode=BAD_RESPONSE", "endpointId={busy}", "endpointId={quiet}", "since=24h&status=success", "eventType=order.paid", "attribute.region=mars"} {
		list = append(list, "/bulk-retries/new?"+f)
	}
	list = append(list, strings.Fields(`/webhook-deliveries /webhook-deliveries?status=failed&limit=200 /webhook-deliveries?cursor={behind}&shape=delivery
		/webhook-deliveries?endpointId={busy}&status=pending /webhook-deliveries/{delivery} /webhook-deliveries/{delivery}?shape=event-attempt
		/webhook-deliveries/{delivery}/attempts /webhook-attempts /webhook-attempts?shape=invocation-attempt /webhook-attempts?shape=delivery-attempt
		/webhook-attempts?shape=event-attempt&limit=200 /webhook-attempts?endpointId={busy} /webhook-attempts?endpointId={busy}&status=failed
		/webhook-attempts?status=failed&limit=200 /webhook-attempts?status=interrupted /webhook-attempts?errorCode=BAD_RESPONSE /webhook-attempts?errorCode=TIMEOUT
		/webhook-attempts?status=succeeded&since=24h /webhook-attempts?eventId={event} /webhook-attempts?deliveryId={delivery} /webhook-attempts?cursor={behind-attempt}
		/webhook-attempts?cursor={behind-attempt}&status=failed /webhook-attempts?since=10d&until=9d /webhook-attempts?until=19d
		/webhook-events /webhook-events?eventType=order.paid&limit=200 /webhook-events?since=10d&until=9d /webhook-events/{event}
		/webhook-endpoints /webhook-endpoints?limit=200&state=enabled /webhook-endpoints/{busy} /webhook-stats /webhook-stats?since=20d
		/webhook-stats?endpointId={busy}&since=20d /webhook-bulk-retries /webhook-bulk-retries/{bulk} /openapi.json`)...)
	return append(list, `/deliveries/retry id={delivery}`, `/webhook-bulk-retries {"query":{"endpointId":"{quiet}"},"dryRun":true}`)
}

// TestScaleAsksForEverything holds scaleRequests to the routes that there are.
func TestScaleAsksForEverything(t *testing.T) {
	pages, api := console.Patterns()
	mux := http.NewServeMux()
	left := map[string]bool{}
	for _, pattern := range append(pages, api...) {
		mux.Handle(pattern, http.NotFoundHandler())
		left[pattern] = strings.HasPrefix(pattern, "GET ")
	}
	for _, ask := range scaleRequests() {
		path, _, found := strings.Cut(ask, " ")
		method := map[bool]string{true: "POST", false: "GET"}[found]
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), method, path, nil))
		delete(left, pattern)
	}
	for pattern, needed := range left {
		require.False(t, needed, "%s is not measured", pattern)
	}
}

// scale measures one caller's requests.
type scale struct {
	*testing.T
	base  string
	names *strings.Replacer
}

func (s *scale) measure(caller, ask string) {
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("CONSOLE_ROUNDS"), "3"))
	require.NoError(s, err)
	s.cool()
	first := s.request(ask)
	var took []time.Duration
	for range rounds {
		took = append(took, s.request(ask))
	}
	slices.Sort(took)
	median, most := took[len(took)/2], took[len(took)-1]
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	s.Logf("%-12s | %7.1f | %7.1f | %7.1f | %s", caller, ms(first), ms(median), ms(most), ask)
	if took[0] >= budget*slower { // what else the machine does can only add to it
		s.Errorf("%s: %s took %v at least", caller, ask, took[0])
	}
}

// cool empties caches and waits until the store answers again.
func (s *scale) cool() {
	command := os.Getenv("CONSOLE_COLD")
	if command == "" {
		return
	}
	out, err := exec.CommandContext(s.Context(), "sh", "-c", command).CombinedOutput()
	require.NoError(s, err, string(out))
	for range 20 {
		r, err := http.NewRequestWithContext(s.Context(), "GET", s.base+"/webhook-bulk-retries", nil)
		require.NoError(s, err)
		if res, err := http.DefaultClient.Do(r); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
	}
	s.Fatal("the store does not answer after " + command)
}

func (s *scale) request(ask string) time.Duration {
	path, body, post := strings.Cut(s.names.Replace(ask), " ")
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", s.base+path, strings.NewReader(body))
	require.NoError(s, err)
	if post {
		r.Method = "POST"
		r.Header.Set("Content-Type", map[bool]string{true: "application/json", false: "application/x-www-form-urlencoded"}[strings.HasPrefix(body, "{")])
	}
	start := time.Now()
	res, err := noRedirects.Do(r)
	require.NoError(s, err)
	answer, err := io.ReadAll(res.Body)
	took := time.Since(start)
	require.NoError(s, errors.Join(err, res.Body.Close()))
	require.Less(s, res.StatusCode, 400, fmt.Sprintf("%s: %s", ask, answer))
	return took
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
