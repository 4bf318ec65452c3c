package console_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

// site is a console over a dispatcher with a scripted network.
type site struct {
	*testing.T
	d      *webhook.Dispatcher
	client *webhooktest.Client
	http.Handler
}

var operator = console.Access{AllTenants: true, Write: true}

func newSite(t *testing.T, access console.Access, change ...func(*console.Config)) *site {
	client := &webhooktest.Client{}
	d, err := webhook.New(memory.New(), webhook.Config{HTTPClient: client})
	require.NoError(t, err)
	cfg := console.Config{Authorize: func(*http.Request) (console.Access, bool) { return access, true }}
	for _, c := range change {
		c(&cfg)
	}
	return &site{T: t, d: d, client: client, Handler: console.New(d, cfg)}
}

// as is the same site for another caller.
func (s *site) as(access console.Access) *site {
	other := *s
	other.Handler = console.New(s.d, console.Config{Authorize: func(*http.Request) (console.Access, bool) { return access, true }})
	return &other
}

func (s *site) endpoint(tenant string) webhook.Endpoint {
	s.Helper()
	e, err := s.d.CreateEndpoint(s.Context(), webhook.Endpoint{TenantID: tenant, URL: "https://" + tenant + ".example/hooks"})
	require.NoError(s, err)
	return e
}

// send sends an event and delivers what is due; it returns the first delivery.
func (s *site) send(tenant string, attributes ...string) webhook.Delivery {
	s.Helper()
	e := webhook.Event{TenantID: tenant, Type: "workflow.completed", Payload: []byte(`{"n": 1}`), Attributes: map[string]string{}}
	for i := 0; i+1 < len(attributes); i += 2 {
		e.Attributes[attributes[i]] = attributes[i+1]
	}
	receipt, err := s.d.Send(s.Context(), e)
	require.NoError(s, err)
	require.NoError(s, s.d.RunOnce(s.Context()))
	return s.stored(receipt.DeliveryIDs[0])
}

func (s *site) stored(deliveryID string) webhook.Delivery {
	s.Helper()
	d, err := s.d.GetDelivery(s.Context(), deliveryID)
	require.NoError(s, err)
	return d
}

func (s *site) do(method, target, body string, headers ...string) *http.Response {
	s.Helper()
	r := httptest.NewRequestWithContext(s.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result()
}

// get reads JSON.
func (s *site) get(target string) map[string]any {
	s.Helper()
	return s.decode(s.do("GET", target, ""), http.StatusOK)
}

func (s *site) post(target, body string) map[string]any {
	s.Helper()
	return s.decode(s.do("POST", target, body, "Content-Type", "application/json"), http.StatusOK)
}

func (s *site) decode(res *http.Response, status int) (v map[string]any) {
	s.Helper()
	body, err := io.ReadAll(res.Body)
	require.NoError(s, err)
	require.Equal(s, status, res.StatusCode, "%s", body)
	require.Equal(s, "application/json", res.Header.Get("Content-Type"))
	require.NoError(s, json.Unmarshal(body, &v), "%s", body)
	return v
}

// problem is what an answer says is wrong.
func (s *site) problem(res *http.Response, status int) map[string]any {
	s.Helper()
	body, err := io.ReadAll(res.Body)
	require.NoError(s, err)
	require.Equal(s, status, res.StatusCode, "%s", body)
	require.Equal(s, "application/problem+json", res.Header.Get("Content-Type"))
	var p map[string]any
	require.NoError(s, json.Unmarshal(body, &p), "%s", body)
	require.EqualValues(s, status, p["status"])
	require.Equal(s, "about:blank", p["type"])
	require.Equal(s, http.StatusText(status), p["title"])
	require.NotEmpty(s, p["detail"])
	return p
}

func ids(list map[string]any) (ids []string) {
	for _, item := range list["data"].([]any) {
		ids = append(ids, item.(map[string]any)["id"].(string))
	}
	return ids
}

func TestOtherSitesChangeNothing(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
	} {
		p := s.problem(s.do("POST", "/webhook-endpoints/"+e.ID+"/pause", "", headers...), http.StatusForbidden)
		require.Contains(t, p["detail"], "Another site")
	}
	// A form of another site cannot say application/json without being asked for it first.
	p := s.problem(s.do("POST", "/webhook-endpoints/"+e.ID+"/pause", "{}", "Content-Type", "text/plain"), http.StatusUnsupportedMediaType)
	require.Contains(t, p["detail"], "application/json")
	now, err := s.d.GetEndpoint(t.Context(), e.ID)
	require.NoError(t, err)
	require.Equal(t, webhook.EndpointEnabled, now.State)
	res := s.do("POST", "/webhook-endpoints/"+e.ID+"/pause", "", "Sec-Fetch-Site", "same-origin")
	require.Equal(t, "paused", s.decode(res, http.StatusOK)["state"])
}

// Every answer, whatever it is, keeps to itself.
func TestHeaders(t *testing.T) {
	s := newSite(t, operator)
	for _, target := range []string{"/", "/deliveries", "/webhook-deliveries", "/nowhere", "/webhook-deliveries/wd_x"} {
		res := s.do("GET", target, "", "Accept", "text/html")
		policy := res.Header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", target)
		require.Contains(t, policy, "frame-ancestors 'none'", target)
		require.NotContains(t, policy, "unsafe", target)
		require.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"), target)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"), target)
		require.Equal(t, "same-origin", res.Header.Get("Referrer-Policy"), target)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	s := newSite(t, operator)
	for _, target := range []string{"/nowhere", "/webhook-deliveries/x/y/z", "/webhook-deliveries//", "//deliveries", "/a/../deliveries"} {
		s.problem(s.do("GET", target, ""), http.StatusNotFound)
	}
	res := s.do("DELETE", "/webhook-deliveries", "")
	s.problem(res, http.StatusMethodNotAllowed)
	require.Equal(t, "GET, HEAD", res.Header.Get("Allow"))
	e := s.endpoint("acme")
	s.problem(s.do("POST", "/webhook-endpoints/"+e.ID+"/explode", ""), http.StatusNotFound)
	res = s.do("GET", "/nowhere", "", "Accept", "text/html,*/*")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
}

func TestRedact(t *testing.T) {
	redact := func(_ *http.Request, e webhook.Event) []byte {
		e.Attributes["changed"] = "yes"
		clear(e.Payload) // a copy
		return fmt.Appendf(nil, `{"redacted":%d}`, len(e.Payload))
	}
	s := newSite(t, operator, func(c *console.Config) { c.Redact = redact })
	s.endpoint("acme")
	s.client.Script(200)
	d := s.send("acme")
	require.Equal(t, `{"n": 1}`, string(s.client.Requests()[0].Body))
	full := s.get("/webhook-deliveries/" + d.ID)["event"].(map[string]any)
	require.Equal(t, map[string]any{"redacted": 8.0}, full["payload"])
	require.Equal(t, map[string]any{"redacted": 8.0}, s.get("/webhook-events/" + d.EventID)["payload"])
	require.Empty(t, full["attributes"])

	nothing := newSite(t, operator, func(c *console.Config) {
		c.Redact = func(*http.Request, webhook.Event) []byte { return nil }
	})
	nothing.endpoint("acme")
	nothing.client.Script(200)
	d = nothing.send("acme")
	hidden := nothing.get("/webhook-events/" + d.EventID)
	require.NotContains(t, hidden, "payload")
	require.NotContains(t, hidden, "payloadBase64")
	require.Equal(t, `{"n": 1}`, string(nothing.stored(d.ID).Event.Payload))
}

func TestHeadersOfEventsAreMasked(t *testing.T) {
	s := newSite(t, operator)
	s.endpoint("acme")
	s.client.Script(200)
	receipt, err := s.d.Send(t.Context(), webhook.Event{
		TenantID: "acme", Type: "a", Payload: []byte("1"), Headers: map[string]string{"X-Token": "s3cret"},
	})
	require.NoError(t, err)
	require.NoError(t, s.d.RunOnce(t.Context()))
	require.Equal(t, "s3cret", s.client.Requests()[0].Header.Get("X-Token"))
	for _, target := range []string{"/webhook-deliveries/" + receipt.DeliveryIDs[0], "/webhook-events/" + receipt.EventID, "/webhook-events",
		"/deliveries/" + receipt.DeliveryIDs[0], "/events/" + receipt.EventID} {
		res := s.do("GET", target, "")
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NotContains(t, string(body), "s3cret", target)
	}
}

func text(t *testing.T, res *http.Response) string {
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(body)
}
