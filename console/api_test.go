package console_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
)

// compile reads the JSON Schema of a published document.
func compile(t *testing.T, name string) *jsonschema.Schema {
	file, err := os.Open("../schema/testdata/" + name + ".schema.json")
	require.NoError(t, err)
	defer file.Close()
	doc, err := jsonschema.UnmarshalJSON(file)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource(name, doc))
	compiled, err := c.Compile(name)
	require.NoError(t, err)
	return compiled
}

// failedAndSucceeded makes a delivery that failed once and awaits its retry, and one that succeeded.
func failedAndSucceeded(s *site) (failed, succeeded webhook.Delivery) {
	s.client.Script(503)
	failed = s.send("acme", "stepKey", "sign", "workflowId", "wf_01jv8m7qfj6xj9gkz7a4s2h8ey")
	s.client.Script(200)
	succeeded = s.send("acme")
	return failed, succeeded
}

func TestDeliveriesHaveThePublishedShape(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	failed, succeeded := failedAndSucceeded(s)
	list := s.get("/webhook-deliveries")
	require.Equal(t, []string{succeeded.ID, failed.ID}, ids(list))
	require.Nil(t, list["nextCursor"])
	shape := compile(t, "delivery-list-item")
	for _, item := range list["data"].([]any) {
		require.NoError(t, shape.Validate(item))
	}
	item := list["data"].([]any)[1].(map[string]any)
	require.Equal(t, e.ID, item["webhookEndpointId"])
	require.Equal(t, "pending", item["status"])
	require.Equal(t, 503.0, item["lastAttempt"].(map[string]any)["responseStatus"])
	require.Equal(t, "sign", item["stepKey"])
	require.NotContains(t, item, "state")

	full := s.get("/webhook-deliveries/" + failed.ID)
	require.Equal(t, "scheduled", full["state"])
	require.Equal(t, "BAD_RESPONSE", full["lastErrorCode"])
	require.Equal(t, "sign", full["stepKey"])
	require.Equal(t, map[string]any{"n": 1.0}, full["event"].(map[string]any)["payload"])
	require.Len(t, full["attempts"], 1)
	for key, value := range item { // the full form adds, and changes nothing
		require.Equal(t, value, full[key], key)
	}

	own := s.get("/webhook-deliveries?shape=delivery&status=pending")["data"].([]any)[0].(map[string]any)
	require.Equal(t, "scheduled", own["state"])
}

func TestAttemptsInFourShapes(t *testing.T) {
	s := newSite(t, operator)
	s.endpoint("acme")
	failed, _ := failedAndSucceeded(s)
	for _, name := range []string{"invocation-attempt", "delivery-attempt", "event-attempt"} {
		shape := compile(t, name)
		for _, target := range []string{"/webhook-attempts?shape=", "/webhook-deliveries/" + failed.ID + "/attempts?shape="} {
			list := s.get(target + name)["data"].([]any)
			require.NotEmpty(t, list)
			for _, a := range list {
				require.NoError(t, shape.Validate(a), "%s", target)
			}
		}
		full := s.get("/webhook-deliveries/" + failed.ID + "?shape=" + name)
		require.NoError(t, shape.Validate(full["attempts"].([]any)[0]))
	}
	own := s.get("/webhook-attempts")["data"].([]any)[1].(map[string]any)
	require.Equal(t, "initial", own["trigger"])
	require.Equal(t, 503.0, own["statusCode"])
	require.Contains(t, own, "responseBodyPreview")
}

func TestPaging(t *testing.T) {
	s := newSite(t, operator)
	s.endpoint("acme")
	s.client.Script(slices.Repeat([]int{200}, 7)...)
	var want []string
	for range 7 {
		want = append(want, s.send("acme").ID)
	}
	slices.Reverse(want)
	for _, path := range []string{"/webhook-deliveries", "/webhook-attempts", "/webhook-events", "/webhook-endpoints"} {
		var got []string
		cursor, pages := "", 0
		for {
			list := s.get(path + "?limit=3&cursor=" + cursor)
			got, pages = append(got, ids(list)...), pages+1
			if list["nextCursor"] == nil {
				break
			}
			cursor = list["nextCursor"].(string)
			require.Equal(t, got[len(got)-1], cursor)
		}
		switch path {
		case "/webhook-deliveries":
			require.Equal(t, want, got)
			require.Equal(t, 3, pages)
		case "/webhook-endpoints":
			require.Len(t, got, 1)
		default:
			require.Len(t, got, 7)
			require.True(t, slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }))
		}
	}
	// A page that ends with the list says so.
	require.Nil(t, s.get("/webhook-deliveries?limit=7")["nextCursor"])
	require.Equal(t, []any{}, s.get("/webhook-deliveries?limit=3&cursor=" + want[6])["data"])
}

func TestFilters(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	failed, succeeded := failedAndSucceeded(s)
	s.endpoint("globex")
	s.client.Script(404)
	other := s.send("globex")
	for filter, want := range map[string][]string{
		"":                               {other.ID, succeeded.ID, failed.ID},
		"tenant=acme":                    {succeeded.ID, failed.ID},
		"tenant=":                        nil,
		"tenant=nobody":                  nil,
		"status=success":                 {succeeded.ID},
		"state=scheduled&tenant=acme":    {failed.ID},
		"state=scheduled&state=queued":   {other.ID, failed.ID},
		"endpointId=" + e.ID:             {succeeded.ID, failed.ID},
		"eventId=" + failed.EventID:      {failed.ID},
		"eventType=workflow.completed":   {other.ID, succeeded.ID, failed.ID},
		"eventType=none":                 nil,
		"errorCode=BAD_RESPONSE":         {other.ID, failed.ID},
		"responseClass=5xx":              {failed.ID},
		"responseClass=4":                {other.ID},
		"responseClass=4xx":              {other.ID},
		"since=1h":                       {other.ID, succeeded.ID, failed.ID},
		"until=1h":                       nil,
		"since=2999-01-01T00:00:00Z":     nil,
		"finishedSince=1h":               {succeeded.ID},
		"attribute.stepKey=sign":         {failed.ID},
		"attribute.stepKey=other":        nil,
		"endpointId=we_x&status=pending": nil,
	} {
		require.Equal(t, want, ids(s.get("/webhook-deliveries?"+filter)), filter)
	}
	require.Len(t, ids(s.get("/webhook-attempts?status=failed&deliveryId="+failed.ID)), 1)
	require.Len(t, ids(s.get("/webhook-attempts?errorCode=BAD_RESPONSE")), 2)
	require.Len(t, ids(s.get("/webhook-events?eventType=workflow.completed&tenant=acme")), 2)
	require.Len(t, ids(s.get("/webhook-endpoints?state=enabled")), 2)
	require.Empty(t, ids(s.get("/webhook-endpoints?state=paused")))
	for query, field := range map[string]string{
		"status=good": "status", "state=lost": "state", "errorCode=OOPS": "errorCode", "responseClass=x": "responseClass",
		"since=yesterday": "since", "limit=0": "limit", "limit=201": "limit", "limit=ten": "limit", "statuss=failed": "statuss",
		"shape=attempt": "shape", "cursor=nonsense": "DeliveryQuery.After",
	} {
		p := s.problem(s.do("GET", "/webhook-deliveries?"+query, ""), http.StatusBadRequest)
		if field != "DeliveryQuery.After" {
			require.Equal(t, field, p["field"])
		}
	}
}

// 404 and 410 have different codes, and are one list.
func TestFilterByAnswerAcrossCodes(t *testing.T) {
	s := newSite(t, operator)
	var want []string
	for i, status := range []int{404, 410, 500, 410, 404} {
		tenant := fmt.Sprint("t", i)
		s.endpoint(tenant)
		s.client.Script(status)
		if d := s.send(tenant); status < 500 {
			want = append([]string{d.ID}, want...)
		}
	}
	require.Equal(t, want, ids(s.get("/webhook-deliveries?responseClass=4xx")))
	first := s.get("/webhook-deliveries?responseClass=4xx&limit=3")
	require.Equal(t, want[:3], ids(first))
	require.Equal(t, want[3:], ids(s.get("/webhook-deliveries?responseClass=4xx&limit=3&cursor="+first["nextCursor"].(string))))
	require.Equal(t, want[1:2], ids(s.get("/webhook-deliveries?responseClass=4xx&errorCode=ENDPOINT_GONE&limit=1")))
}

func TestRetryAndCancel(t *testing.T) {
	s := newSite(t, operator)
	s.endpoint("acme")
	failed, succeeded := failedAndSucceeded(s)
	require.Equal(t, "failed", s.post("/webhook-deliveries/"+failed.ID+"/cancel", "{}")["status"])
	require.Equal(t, webhook.StateCanceled, s.stored(failed.ID).State)
	p := s.problem(s.do("POST", "/webhook-deliveries/"+failed.ID+"/cancel", ""), http.StatusConflict)
	require.Contains(t, p["detail"], "final already")

	require.Equal(t, "pending", s.post("/webhook-deliveries/"+succeeded.ID+"/retry", "")["status"])
	s.client.Script(200)
	require.NoError(t, s.d.RunOnce(t.Context()))
	require.Equal(t, webhook.TriggerManual, s.stored(succeeded.ID).Attempts[1].Trigger)
	s.problem(s.do("POST", "/webhook-deliveries/wd_nothing/retry", ""), http.StatusNotFound)
}

func TestEndpointActions(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	path := "/webhook-endpoints/" + e.ID
	state := func() webhook.EndpointState {
		now, err := s.d.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		return now.State
	}
	s.post(path+"/pause", "")
	require.Equal(t, webhook.EndpointPaused, state())
	s.post(path+"/unpause", "")
	require.Equal(t, webhook.EndpointEnabled, state())
	require.Equal(t, "maintenance", s.post(path+"/disable", `{"reason":"maintenance"}`)["disabledReason"])
	require.Equal(t, webhook.EndpointDisabled, state())
	s.problem(s.do("POST", path+"/ping", ""), http.StatusConflict)
	s.problem(s.do("POST", path+"/pause", ""), http.StatusConflict)
	s.post(path+"/enable", "")
	require.Equal(t, webhook.EndpointEnabled, state())

	receipt := s.post(path+"/ping", "")
	s.client.Script(200)
	require.NoError(t, s.d.RunOnce(t.Context()))
	pinged := s.stored(receipt["deliveryIds"].([]any)[0].(string))
	require.Equal(t, webhook.PingType, pinged.EventType)
	require.Equal(t, webhook.StateSucceeded, pinged.State)

	seen := s.get(path)
	require.Contains(t, seen["health"], "lastSuccessAt")
	require.Equal(t, "whsec_****", seen["secrets"].([]any)[0].(map[string]any)["value"])
	p := s.problem(s.do("POST", path+"/disable", `{"raison":"x"}`, "Content-Type", "application/json"), http.StatusBadRequest)
	require.Contains(t, p["detail"], "raison")
}

func TestRotateSecret(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	path := "/webhook-endpoints/" + e.ID + "/rotate-secret"
	secrets := func() []webhook.Secret {
		now, err := s.d.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		return now.Secrets
	}
	fresh := s.post(path, "")
	require.Len(t, secrets(), 2)
	require.Equal(t, secrets()[0].Value, fresh["secret"])
	require.Nil(t, fresh["publicKey"])
	fresh = s.post(path, `{"graceMs":0}`)
	require.Len(t, secrets(), 1)
	require.Equal(t, secrets()[0].Value, fresh["secret"])
	s.post(path, `{"graceMs":3600000}`)
	require.Len(t, secrets(), 2)
	s.problem(s.do("POST", path, `{"graceMs":-1}`, "Content-Type", "application/json"), http.StatusBadRequest)
	s.problem(s.do("POST", path, `{"graceMs":9223372036854775807}`, "Content-Type", "application/json"), http.StatusBadRequest)
	require.Len(t, secrets(), 2)
}

func TestStats(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	failedAndSucceeded(s)
	for _, query := range []string{"", "?tenant=acme", "?endpointId=" + e.ID} {
		stats := s.get("/webhook-stats" + query)
		require.Equal(t, 1.0, stats["pending"], query)
		require.Equal(t, 1.0, stats["succeeded"], query)
		require.NotEmpty(t, stats["hours"], query)
	}
	require.Equal(t, []any{}, s.get("/webhook-stats?tenant=nobody")["hours"])
}

func TestBulkRetries(t *testing.T) { synctest.Test(t, testBulkRetries) }

func testBulkRetries(t *testing.T) {
	s := newSite(t, operator)
	s.endpoint("acme")
	var dead []webhook.Delivery
	for range 3 {
		s.client.Script(503)
		d := s.send("acme")
		require.NoError(t, s.d.Cancel(t.Context(), d.ID))
		dead = append(dead, d)
	}
	dry := s.post("/webhook-bulk-retries", `{"query":{"tenantId":"acme"},"dryRun":true}`)
	require.Equal(t, 3.0, dry["matched"])
	require.Equal(t, true, dry["dryRun"])
	require.Empty(t, ids(s.get("/webhook-bulk-retries")))

	res := s.do("POST", "/webhook-bulk-retries", `{"query":{"tenantId":"acme"},"rate":50}`, "Content-Type", "application/json")
	made := s.decode(res, http.StatusCreated)
	id := made["id"].(string)
	at, err := url.Parse("http://x/prefix/webhook-bulk-retries")
	require.NoError(t, err)
	at, err = at.Parse(res.Header.Get("Location"))
	require.NoError(t, err)
	require.Equal(t, "/prefix/webhook-bulk-retries/"+id, at.Path)
	require.Equal(t, "running", s.get("/webhook-bulk-retries/" + id)["state"])
	s.client.Script(200, 200, 200)
	require.NoError(t, s.d.RunOnce(t.Context()))
	done := s.get("/webhook-bulk-retries/" + id)
	require.Equal(t, "done", done["state"])
	require.Equal(t, 3.0, done["requeued"])
	for _, d := range dead {
		now := s.stored(d.ID)
		require.Equal(t, webhook.StateSucceeded, now.State)
		require.Equal(t, id, now.Attempts[1].BulkRetryID)
	}
	require.Equal(t, []string{id}, ids(s.get("/webhook-bulk-retries?state=done")))
	s.problem(s.do("POST", "/webhook-bulk-retries/"+id+"/cancel", ""), http.StatusConflict)

	second := s.decode(s.do("POST", "/webhook-bulk-retries", `{"query":{"tenantId":"acme","status":"success"}}`,
		"Content-Type", "application/json"), http.StatusCreated)["id"].(string)
	require.Equal(t, "canceling", s.post("/webhook-bulk-retries/"+second+"/cancel", "")["state"])

	for _, body := range []string{"", "{}", `{"query":{}}`, `{"query":{"tenantId":"acme","colour":"red"}}`, `{"query":{"status":"odd","tenantId":"a"}}`,
		`{"query":{"states":["odd"],"tenantId":"a"}}`, `{"query":{"errorCode":"odd","tenantId":"a"}}`, `{"query":{"tenantId":"a"},"rate":-1}`,
		`{"query":{"tenantId":"a"}} {}`, `[]`, `{"query":`} {
		s.problem(s.do("POST", "/webhook-bulk-retries", body, "Content-Type", "application/json"), http.StatusBadRequest)
	}
	s.problem(s.do("POST", "/webhook-bulk-retries", strings.Repeat(" ", 2<<20), "Content-Type", "application/json"), http.StatusRequestEntityTooLarge)
}

// What belongs to another tenant answers as what does not exist, byte for byte.
func TestATenantSeesNothingOfOthers(t *testing.T) {
	s := newSite(t, operator)
	e := s.endpoint("acme")
	failed, _ := failedAndSucceeded(s)
	mine := s.endpoint("globex")
	s.client.Script(200)
	own := s.send("globex")
	bulk, err := s.d.BulkRetry(t.Context(), webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{})
	require.NoError(t, err)

	for _, access := range []console.Access{{TenantID: "globex", Write: true}, {Write: true}} {
		tenant := s.as(access)
		answer := func(method, path, body string) string {
			res := tenant.do(method, path, body, "Content-Type", "application/json")
			b, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			return res.Status + string(b)
		}
		for path, unknown := range map[string]string{
			"GET /webhook-deliveries/" + failed.ID:                           "GET /webhook-deliveries/wd_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"GET /webhook-deliveries/" + failed.ID + "/attempts":             "GET /webhook-deliveries/wd_x/attempts",
			"POST /webhook-deliveries/" + failed.ID + "/retry":               "POST /webhook-deliveries/wd_x/retry",
			"POST /webhook-deliveries/" + failed.ID + "/cancel":              "POST /webhook-deliveries/wd_x/cancel",
			"GET /webhook-events/" + failed.EventID:                          "GET /webhook-events/evt_x",
			"GET /webhook-endpoints/" + e.ID:                                 "GET /webhook-endpoints/we_x",
			"POST /webhook-endpoints/" + e.ID + "/pause":                     "POST /webhook-endpoints/we_x/pause",
			"POST /webhook-endpoints/" + e.ID + "/disable":                   "POST /webhook-endpoints/we_x/disable",
			"POST /webhook-endpoints/" + e.ID + "/ping":                      "POST /webhook-endpoints/we_x/ping",
			"POST /webhook-endpoints/" + e.ID + "/rotate-secret":             "POST /webhook-endpoints/we_x/rotate-secret",
			"GET /webhook-bulk-retries/" + bulk.ID:                           "GET /webhook-bulk-retries/br_x",
			"POST /webhook-bulk-retries/" + bulk.ID + "/cancel":              "POST /webhook-bulk-retries/br_x/cancel",
			"GET /webhook-deliveries?endpointId=" + e.ID:                     "GET /webhook-deliveries?endpointId=we_x",
			"GET /webhook-deliveries?eventId=" + failed.EventID:              "GET /webhook-deliveries?eventId=evt_x",
			"GET /webhook-deliveries?tenant=acme":                            "GET /webhook-deliveries?tenant=nobody",
			"GET /webhook-attempts?deliveryId=" + failed.ID:                  "GET /webhook-attempts?deliveryId=wd_x",
			"GET /webhook-attempts?endpointId=" + e.ID:                       "GET /webhook-attempts?endpointId=we_x",
			"GET /webhook-events?tenant=acme":                                "GET /webhook-events?tenant=nobody",
			"GET /webhook-stats?endpointId=" + e.ID:                          "GET /webhook-stats?endpointId=we_x",
			"GET /webhook-stats?tenant=acme":                                 "GET /webhook-stats?tenant=nobody",
			"POST /webhook-bulk-retries {\"query\":{\"tenantId\":\"acme\"}}": "POST /webhook-bulk-retries {\"query\":{\"tenantId\":\"nobody\"}}",
			"POST /webhook-bulk-retries {\"query\":{\"allTenants\":true}}":   "POST /webhook-bulk-retries {\"query\":{\"tenantId\":\"nobody\"}}",
			"GET /webhook-bulk-retries?tenant=acme":                          "GET /webhook-bulk-retries?tenant=nobody",
		} {
			split := func(s string) (string, string, string) {
				parts := strings.SplitN(s+"  ", " ", 3)
				return parts[0], parts[1], strings.TrimSpace(parts[2])
			}
			require.Equal(t, answer(split(unknown)), answer(split(path)), path)
		}
		require.NotContains(t, answer("GET", "/webhook-deliveries", ""), "acme")
		require.NotContains(t, answer("GET", "/webhook-endpoints", ""), "acme")
		require.NotContains(t, answer("GET", "/webhook-bulk-retries", ""), bulk.ID)
	}

	globex := s.as(console.Access{TenantID: "globex", Write: true})
	require.Equal(t, []string{own.ID}, ids(globex.get("/webhook-deliveries")))
	require.Equal(t, []string{own.ID}, ids(globex.get("/webhook-deliveries?tenant=globex")))
	require.Equal(t, []string{mine.ID}, ids(globex.get("/webhook-endpoints")))
	require.Equal(t, 1.0, globex.get("/webhook-stats")["succeeded"])
	made := globex.decode(globex.do("POST", "/webhook-bulk-retries", `{"query":{"status":"success"}}`, "Content-Type", "application/json"), http.StatusCreated)
	require.Equal(t, "globex", made["query"].(map[string]any)["tenantId"])

	before, err := json.Marshal(failed)
	require.NoError(t, err)
	after, err := json.Marshal(s.stored(failed.ID))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	state, err := s.d.GetEndpoint(t.Context(), e.ID)
	require.NoError(t, err)
	require.Equal(t, e, state)
}
