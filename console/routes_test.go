package console_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/store/memory"
)

// These tests ask for all routes that there are, so that none can be forgotten when it is added.

type target struct{ pattern, method, path string }

// targets are all routes, with IDs of these records in the place of {id}.
func targets(ids map[string]string) (list []target) {
	pages, api := console.Patterns()
	for _, pattern := range append(pages, api...) {
		method, path, _ := strings.Cut(pattern, " ")
		kind, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/"), "webhook-"), "/")
		path = strings.NewReplacer("{$}", "", "{name}", "console.css", "{id}", ids[kind]).Replace(path)
		list = append(list, target{pattern, method, path})
	}
	return list
}

// past are records of acme, one of each kind.
func past(s *site) map[string]string {
	s.Helper()
	e := s.endpoint("acme")
	s.client.Script(503)
	d := s.send("acme")
	b, err := s.d.BulkRetry(s.Context(), webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{})
	require.NoError(s, err)
	return map[string]string{"deliveries": d.ID, "events": d.EventID, "endpoints": e.ID, "bulk-retries": b.ID}
}

// state is all that an action could change.
func (s *site) state(ids map[string]string) any {
	s.Helper()
	e, err := s.d.GetEndpoint(s.Context(), ids["endpoints"])
	require.NoError(s, err)
	b, err := s.d.ListBulkRetries(s.Context(), webhook.BulkRetryQuery{AllTenants: true})
	require.NoError(s, err)
	events, err := s.d.ListEvents(s.Context(), webhook.EventQuery{AllTenants: true})
	require.NoError(s, err)
	return []any{e, b, events, s.stored(ids["deliveries"])}
}

func TestEveryRouteAsksAuthorize(t *testing.T) {
	s := newSite(t, operator)
	ids := past(s)
	before := s.state(ids)
	for name, authorize := range map[string]func(*http.Request) (console.Access, bool){
		"nil": nil,
		"no":  func(*http.Request) (console.Access, bool) { return operator, false },
	} {
		closed := *s
		closed.Handler = console.New(s.d, console.Config{Authorize: authorize})
		for _, to := range append(targets(ids), target{method: "GET", path: "/nowhere"}, target{method: "DELETE", path: "/"}) {
			p := closed.problem(closed.do(to.method, to.path, ""), http.StatusForbidden)
			require.Equal(t, "You may not see this.", p["detail"], "%s %s", name, to)
		}
	}
	require.Equal(t, before, s.state(ids))
}

func TestWhoMayOnlyLookChangesNothing(t *testing.T) {
	s := newSite(t, operator)
	ids := past(s)
	before := s.state(ids)
	reader := s.as(console.Access{AllTenants: true})
	require.Equal(t, ids["deliveries"], reader.get("/webhook-deliveries/" + ids["deliveries"])["id"])
	for _, to := range targets(ids) {
		if to.method == "GET" || to.path == "/theme" {
			continue
		}
		p := reader.problem(reader.do(to.method, to.path, ""), http.StatusForbidden)
		require.Equal(t, "You may look, but not change anything.", p["detail"], to)
	}
	require.Equal(t, before, s.state(ids))
}

// What belongs to another tenant answers as what does not exist, on every route.
func TestEveryRouteHidesOtherTenants(t *testing.T) {
	s := newSite(t, operator)
	ids := past(s)
	unknown := map[string]string{}
	for kind, id := range ids {
		unknown[kind] = id[:len(id)-1] + string('0'+(id[len(id)-1]-'0'+1)%8) // well-formed, and nobody's
	}
	before := s.state(ids)
	stranger := s.as(console.Access{TenantID: "globex", Write: true})
	strangers := targets(unknown)
	hidden := 0
	for i, to := range targets(ids) {
		if !strings.Contains(to.pattern, "{id}") {
			continue
		}
		for _, accept := range []string{"text/html", "application/json"} {
			answer := func(path string) string {
				res := stranger.do(to.method, path, "", "Accept", accept)
				require.Equal(t, http.StatusNotFound, res.StatusCode, to)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				return string(body)
			}
			theirs := answer(to.path)
			require.NotContains(t, theirs, "acme", to)
			if to.method == "POST" || accept == "application/json" { // a page's address is in its own links
				require.Equal(t, strings.ReplaceAll(answer(strangers[i].path), unknown["endpoints"], ids["endpoints"]), theirs, to)
			}
		}
		hidden++
	}
	require.Greater(t, hidden, 25)
	for _, to := range targets(ids) {
		if to.method == "GET" && !strings.Contains(to.pattern, "{") {
			body, err := io.ReadAll(stranger.do(to.method, to.path, "", "Accept", "text/html").Body)
			require.NoError(t, err)
			require.NotContains(t, string(body), "acme", to)
		}
	}
	require.Equal(t, before, s.state(ids))
}

// TestOpenAPIHasEveryRoute holds the document to the handler, and the handler to the document.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	described := map[string]bool{"GET /openapi.json": true}
	for path, methods := range newSite(t, operator).get("/openapi.json")["paths"].(map[string]any) {
		for method := range methods.(map[string]any) {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	_, api := console.Patterns()
	for _, pattern := range api {
		require.True(t, described[pattern], "openapi.json does not describe %s", pattern)
		delete(described, pattern)
	}
	require.Empty(t, described, "openapi.json describes what is not there")
}

// slowStore looks at far too much for every list but that of all deliveries.
type slowStore struct{ *memory.Store }

func (s slowStore) ListDeliveries(ctx context.Context, now time.Time, q webhook.DeliveryQuery) ([]webhook.DeliveryListItem, error) {
	if q.ResponseClass == 0 && q.Status == "" {
		return s.Store.ListDeliveries(ctx, now, q)
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A page says so instead of keeping a person, and the store, busy.
func TestAPageGivesUpOnASlowList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := webhook.New(slowStore{memory.New()}, webhook.Config{})
		require.NoError(t, err)
		s := &site{T: t, d: d, Handler: console.New(d, console.Config{Authorize: func(*http.Request) (console.Access, bool) { return operator, true }})}
		s.endpoint("acme")
		_, err = d.Send(t.Context(), webhook.Event{TenantID: "acme", Type: "order.paid", Payload: []byte("{}")})
		require.NoError(t, err)
		for path, want := range map[string]string{
			"/deliveries?responseClass=5xx":                     "There are too many deliveries to find these few among them at once.",
			"/deliveries?eventType=order.paid&status=success":   "There are too many deliveries to find these few among them at once.",
			"/deliveries?eventType=order.paid":                  "order.paid", // without counts
			"/bulk-retries/new?responseClass=5xx":               "Retry an unknown number of deliveries?",
			"/bulk-retries/new?responseClass=5xx&status=failed": "Retry an unknown number of deliveries?",
		} {
			began := time.Now()
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
			require.Equal(t, http.StatusOK, w.Code, path)
			require.Contains(t, w.Body.String(), want, path)
			require.LessOrEqual(t, time.Since(began), 200*time.Millisecond, path)
		}
	})
}
