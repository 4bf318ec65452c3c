package console_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// TestOpenAPI asks for everything that the document describes, and holds the answers to it. Its schemas
// allow no field that they do not name.
func TestOpenAPI(t *testing.T) {
	s := newSite(t, operator)
	doc := s.get("/openapi.json")
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("openapi.json", map[string]any(doc)))
	e := s.endpoint("acme")
	failed, succeeded := failedAndSucceeded(s)
	bulk, err := s.d.BulkRetry(t.Context(), webhook.DeliveryQuery{TenantID: "acme"}, webhook.BulkRetryOptions{})
	require.NoError(t, err)

	ids := map[string]string{"deliveries": failed.ID, "events": failed.EventID, "endpoints": e.ID, "bulk-retries": bulk.ID}
	bodies := map[string]string{"createBulkRetry": `{"query":{"tenantId":"acme"}}`, "disableEndpoint": `{"reason":"test"}`, "rotateSecret": `{"graceMs":1000}`}
	// The order in which they can follow one another.
	asked := map[string]bool{}
	for _, id := range strings.Fields(`listDeliveries getDelivery listDeliveryAttempts retryDelivery cancelDelivery listAttempts listEvents getEvent
		listEndpoints getEndpoint pauseEndpoint unpauseEndpoint pingEndpoint rotateSecret disableEndpoint enableEndpoint getStats
		listBulkRetries createBulkRetry getBulkRetry cancelBulkRetry`) {
		method, path, operation := find(t, doc, id)
		_, of, _ := strings.Cut(path, "/webhook-")
		target := strings.Replace(path, "{id}", ids[strings.Split(of, "/")[0]], 1)
		for _, shape := range shapes(operation) {
			res := s.do(method, target+shape, bodies[id], "Content-Type", "application/json")
			answer := s.decode(res, res.StatusCode)
			require.Less(t, res.StatusCode, 300, "%s: %v", id, answer)
			pointer := fmt.Sprintf("openapi.json#/paths/%s/%s/responses/%d/content/application~1json/schema",
				strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(path), strings.ToLower(method), res.StatusCode)
			schema, err := c.Compile(pointer)
			require.NoError(t, err)
			require.NoError(t, schema.Validate(answer), "%s%s", id, shape)
		}
		asked[id] = true
	}
	for path, methods := range doc["paths"].(map[string]any) {
		for method, operation := range methods.(map[string]any) {
			require.True(t, asked[operation.(map[string]any)["operationId"].(string)], "%s %s is not tried", method, path)
		}
	}
	problem, err := c.Compile("openapi.json#/components/schemas/Problem")
	require.NoError(t, err)
	require.NoError(t, problem.Validate(map[string]any(s.problem(s.do("GET", "/webhook-deliveries?status=x", ""), http.StatusBadRequest))))
	require.NotEmpty(t, succeeded.ID)
}

// TestOpenAPIParameters tries each parameter that the document names: the handler refuses what it does
// not know.
func TestOpenAPIParameters(t *testing.T) {
	s := newSite(t, operator)
	values := map[string]string{"since": "24h", "until": "1m", "finishedSince": "7d", "limit": "5", "status": "failed", "state": "", "errorCode": "TIMEOUT",
		"responseClass": "5xx", "shape": "", "cursor": "", "tenant": "acme", "endpointId": "we_x", "eventId": "evt_x", "eventType": "a", "deliveryId": "wd_x"}
	tried := 0
	for path, methods := range s.get("/openapi.json")["paths"].(map[string]any) {
		get, _ := methods.(map[string]any)["get"].(map[string]any)
		if get == nil || strings.Contains(path, "{") {
			continue
		}
		for _, p := range get["parameters"].([]any) {
			name := p.(map[string]any)["name"].(string)
			value, known := values[name]
			require.True(t, known, name)
			s.get(path + "?" + name + "=" + value)
			tried++
		}
	}
	require.Greater(t, tried, 30)
}

func find(t *testing.T, doc map[string]any, id string) (method, path string, operation map[string]any) {
	for path, methods := range doc["paths"].(map[string]any) {
		for method, o := range methods.(map[string]any) {
			if operation := o.(map[string]any); operation["operationId"] == id {
				return strings.ToUpper(method), path, operation
			}
		}
	}
	t.Fatalf("no operation %s", id)
	return
}

// shapes are the queries with which an operation answers in each of its shapes.
func shapes(operation map[string]any) []string {
	queries := []string{""}
	parameters, _ := operation["parameters"].([]any)
	for _, p := range parameters {
		if p := p.(map[string]any); p["name"] == "shape" {
			for _, value := range p["schema"].(map[string]any)["enum"].([]any) {
				queries = append(queries, "?shape="+value.(string))
			}
		}
	}
	return queries
}
