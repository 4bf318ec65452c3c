package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/console/internal/sample"
	"github.com/outhook/webhook/store/sqlite"
)

// budget is what any page may take, however much is stored.
const budget = 300 * time.Millisecond

// TestPagesAreFast asks for every page over a large store. CONSOLE_DELIVERIES says how large;
// CONSOLE_DB names a file to keep and use again.
//
//	CONSOLE_DELIVERIES=5000000 CONSOLE_DB=/tmp/large.db go test -run TestPagesAreFast -v ./console
func TestPagesAreFast(t *testing.T) {
	n := 10_000
	if text := os.Getenv("CONSOLE_DELIVERIES"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	d := largeStore(t, n)
	for _, caller := range []struct {
		name   string
		access console.Access
	}{
		{"operator", console.Access{AllTenants: true, Write: true}},
		{"large tenant", console.Access{TenantID: "tenant-0", Write: true}},
		{"small tenant", console.Access{TenantID: "tenant-17", Write: true}},
	} {
		handler := console.New(d, console.Config{Authorize: func(*http.Request) (console.Access, bool) { return caller.access, true }})
		for _, path := range scalePaths(t, d, caller.access) {
			var best time.Duration
			for try := range 3 {
				start := time.Now()
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
				took := time.Since(start)
				require.Equal(t, http.StatusOK, w.Code, "%s %s: %s", caller.name, path, w.Body)
				if try == 0 || took < best {
					best = took
				}
			}
			t.Logf("%8.1f ms  %s  %s", float64(best)/1e6, caller.name, path)
			if best >= budget*slower {
				t.Errorf("%s: %s took %v", caller.name, path, best)
			}
		}
	}
}

func largeStore(t *testing.T, n int) *webhook.Dispatcher {
	file := os.Getenv("CONSOLE_DB")
	if file == "" {
		file = filepath.Join(t.TempDir(), "large.db")
	}
	_, err := os.Stat(file)
	store, openErr := sqlite.Open(file)
	require.NoError(t, openErr)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	d, newErr := webhook.New(store, webhook.Config{})
	require.NoError(t, newErr)
	if err == nil {
		return d
	}
	const step = 2500
	p := sample.Plan{Now: time.Now(), Span: 20 * 24 * time.Hour, Steps: max(n/step, 4), Events: min(step, n/4), Brief: true, Seed: 3}
	for i := range 200 {
		r := sample.Receiver{Fails: 0.01, Code: 503, Latency: 40 * time.Millisecond, Weight: 1}
		r.Endpoint = webhook.Endpoint{TenantID: fmt.Sprintf("tenant-%d", i%20), URL: fmt.Sprintf("https://r%d.example/hooks", i)}
		if i == 0 {
			r.Weight = 200 // half of all
		}
		if i == 3 {
			r.Fails, r.Code = 0.9, 0
		}
		p.Receivers = append(p.Receivers, r)
	}
	_, err = sample.Fill(t.Context(), d, store, p)
	require.NoError(t, err)
	return d
}

// scalePaths are the pages, with the filters that people use, among them some that match little or
// nothing.
func scalePaths(t *testing.T, d *webhook.Dispatcher, a console.Access) []string {
	endpoints, err := d.ListEndpoints(t.Context(), webhook.EndpointQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 500})
	require.NoError(t, err)
	oldest := endpoints[len(endpoints)-1] // of tenant-0, the busiest
	query := webhook.DeliveryQuery{TenantID: a.TenantID, AllTenants: a.AllTenants, Limit: 1}
	items, err := d.ListDeliveries(t.Context(), query)
	require.NoError(t, err)
	paths := []string{"/", "/?range=7d", "/events", "/endpoints", "/endpoints/" + oldest.ID, "/bulk-retries", "/deliveries/" + items[0].ID, "/events/" + items[0].EventID,
		"/webhook-attempts", "/webhook-attempts?endpointId=" + oldest.ID, "/webhook-events?eventType=order.paid", "/webhook-stats"}
	for _, filter := range []string{
		"", "status=pending", "status=success", "status=failed", "endpointId=" + oldest.ID, "endpointId=" + oldest.ID + "&status=failed",
		"endpointId=" + oldest.ID + "&status=pending", "eventType=order.paid", "eventType=order.paid&status=failed", "eventType=never.sent", "errorCode=BAD_RESPONSE",
		"errorCode=CONNECTION_REFUSED", "errorCode=TIMEOUT", "errorCode=BAD_RESPONSE&status=success", "since=1h", "since=24h&status=failed", "since=10d&until=9d", "until=19d",
		"responseClass=5xx", "responseClass=4xx", "state=scheduled", "state=held", "state=canceled", "eventId=" + items[0].EventID,
	} {
		paths = append(paths, "/deliveries?"+filter)
	}
	paths = append(paths, "/bulk-retries/new?since=24h", "/bulk-retries/new?errorCode=BAD_RESPONSE", "/webhook-deliveries?status=failed&limit=200")
	for i, path := range paths {
		paths[i] = strings.TrimSuffix(path, "?")
	}
	return paths
}
