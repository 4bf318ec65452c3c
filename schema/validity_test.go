package schema_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

// Whatever a record holds, its shapes are valid: every trigger with every code and every status,
// with each optional field there and not there.
func TestEveryAttemptIsValid(t *testing.T) {
	invocation := compile(t, "invocation-attempt.schema.json")
	delivery := compile(t, "delivery-attempt.schema.json")
	event := compile(t, "event-attempt.schema.json")
	g := generator{rand.New(rand.NewPCG(1, 2))}
	codes := append(webhook.ErrorCodes(), "")
	seen := 0
	for _, trigger := range triggers {
		for _, code := range codes {
			for _, status := range attemptStatuses {
				for range 5 {
					a := g.attempt()
					a.Trigger, a.ErrorCode, a.Status = trigger, code, status
					requireValid(t, invocation, schema.NewInvocationAttempt(a))
					requireValid(t, delivery, schema.NewDeliveryAttempt(a))
					requireValid(t, event, schema.NewEventAttempt(a))
					seen++
				}
			}
		}
	}
	require.Equal(t, 5*len(triggers)*len(attemptStatuses)*len(codes), seen)
}

func TestEveryDeliveryIsValid(t *testing.T) {
	listItem := compile(t, "delivery-list-item.schema.json")
	g := generator{rand.New(rand.NewPCG(3, 4))}
	shown := map[string]int{}
	for _, state := range deliveryStates {
		for _, eventType := range eventTypes {
			for range 100 {
				item := g.item()
				item.State, item.Status, item.EventType = state, state.Status(), eventType
				requireValid(t, listItem, schema.NewDeliveryListItem(item))
				for name := range asMap(t, schema.NewDeliveryListItem(item)) {
					shown[name]++
				}
			}
		}
	}
	for name := range readSchema(t, "delivery-list-item.schema.json")["properties"].(map[string]any) {
		require.Positive(t, shown[name], "no record had %s", name)
	}
}

// mutation breaks a valid document in one way.
type mutation struct {
	name   string
	change func(document map[string]any)
}

func set(name string, value any) mutation {
	return mutation{fmt.Sprintf("%s = %v", name, value), func(d map[string]any) { d[name] = value }}
}

// A schema that accepts everything would prove nothing: each must refuse a document broken in any
// one way.
func TestSchemasCanFail(t *testing.T) {
	for _, tt := range []struct {
		schema   string
		valid    any
		nullable string // names, space delimited
		more     []mutation
	}{
		{"invocation-attempt.schema.json", schema.NewInvocationAttempt(failedAttempt()), "", []mutation{
			set("status", "succeeded"), set("status", "FAILED"),
			set("response_code", 1.5), set("response_headers", map[string]any{"A": nil}),
			set("created_at", "2026-11-21"), set("duration_ms", -1),
		}},
		{"delivery-attempt.schema.json", schema.NewDeliveryAttempt(fullAttempt()),
			"statusCode error responseHeaders responseBodyPreview", []mutation{
				set("kind", "automatic"), set("kind", "INITIAL"), set("attemptNumber", 0),
				set("responseHeaders", map[string]any{"A": []any{"b"}}), set("durationMs", -1),
				set("startedAt", "2026-11-21 10:00:00Z"), set("completedAt", "2026-11-21T10:00:00"),
			}},
		{"delivery-list-item.schema.json", schema.NewDeliveryListItem(fullItem()), "", []mutation{
			set("status", "succeeded"), set("status", "success"), set("status", "failed"), // with nextRetryAt
			set("attemptCount", 0), set("attemptCount", 1.5), set("eventType", "order.created"),
			set("id", "evt_01jv8m7qfj6xj9gkz7a4s2h8ey"), set("id", "wd_01jv8m7qfj6xj9gkz7a4s2h8e"),
			set("eventId", "evt_01JV8M7QFJ6XJ9GKZ7A4S2H8EY"), set("webhookEndpointId", "we_"),
			set("workflowId", "wf_01jv8m7qfj6xj9gkz7a4s2h8ez0"), set("createdAt", "yesterday"),
			set("updatedAt", "2026-11-21T10:00:00"), set("nextRetryAt", ""),
			set("lastAttempt", map[string]any{"attemptedAt": "10:00"}),
			set("lastAttempt", map[string]any{"responseStatus": nil}),
			set("lastAttempt", map[string]any{"errorMessage": "x", "responseStatus": 500}),
			set("lastAttempt", map[string]any{"errorCode": "TIMEOUT"}),
		}},
		{"event-attempt.schema.json", everyEventAttempt(), "", []mutation{
			set("status", "INTERRUPTED"), set("status", "succeeded"), set("error_code", "BLOCKED_ADDRESS"),
			set("error_code", ""), set("trigger", "initial"), set("http_method", "HEAD"),
			set("body", []any{}), set("delivery_latency", 1.5), set("successful_at", "soon"),
			set("delivered_at", ""), set("responded_at", "2026-11-21"), set("updated_at", "0"),
			set("created_at", "2026-11-21T25:00:00Z"),
		}},
	} {
		t.Run(tt.schema, func(t *testing.T) {
			compiled := compile(t, tt.schema)
			requireValid(t, compiled, tt.valid)
			mutations := append(tt.more, set("unexpected", "key"))
			for name, f := range fieldsOfSchema(t, tt.schema) {
				mutations = append(mutations, set(name, true))
				if !strings.Contains(" "+tt.nullable+" ", " "+name+" ") {
					mutations = append(mutations, set(name, nil))
				}
				if f.required {
					drop := func(d map[string]any) { delete(d, name) }
					mutations = append(mutations, mutation{"without " + name, drop})
				}
			}
			for _, m := range mutations {
				document := asMap(t, tt.valid)
				m.change(document)
				require.Error(t, validate(t, compiled, document), m.name)
			}
		})
	}
}

// What was encoded decodes into the same shape.
func TestRoundTrip(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(5, 6))}
	for range 500 {
		a, item := g.attempt(), g.item()
		requireRoundTrip(t, schema.NewInvocationAttempt(a))
		requireRoundTrip(t, schema.NewDeliveryAttempt(a))
		requireRoundTrip(t, schema.NewEventAttempt(a))
		requireRoundTrip(t, schema.NewDeliveryListItem(item))
	}
}

func requireRoundTrip[Shape any](t *testing.T, shape Shape) {
	first, err := json.Marshal(shape)
	require.NoError(t, err)
	var decoded Shape
	require.NoError(t, json.Unmarshal(first, &decoded))
	second, err := json.Marshal(decoded)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}

func requireValid(t *testing.T, compiled *jsonschema.Schema, shape any) {
	if err := validate(t, compiled, shape); err != nil {
		encoded, _ := json.MarshalIndent(shape, "", "  ")
		require.NoError(t, err, string(encoded))
	}
}

func validate(t *testing.T, compiled *jsonschema.Schema, document any) error {
	encoded, err := json.Marshal(document)
	require.NoError(t, err)
	instance, err := jsonschema.UnmarshalJSON(strings.NewReader(string(encoded)))
	require.NoError(t, err)
	return compiled.Validate(instance)
}

func compile(t *testing.T, name string) *jsonschema.Schema {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(readFile(t, name)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource(name, document))
	compiled, err := compiler.Compile(name)
	require.NoError(t, err)
	return compiled
}

var (
	triggers = []webhook.Trigger{
		webhook.TriggerInitial, webhook.TriggerAutomatic, webhook.TriggerManual, webhook.TriggerBulkRetry,
		webhook.TriggerUnpause,
	}
	attemptStatuses = []webhook.AttemptStatus{
		webhook.AttemptSucceeded, webhook.AttemptFailed, webhook.AttemptInterrupted, webhook.AttemptCanceled,
	}
	deliveryStates = []webhook.DeliveryState{
		webhook.StateQueued, webhook.StateScheduled, webhook.StateSending, webhook.StateHeld,
		webhook.StateSucceeded, webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled,
		webhook.StateExpired,
	}
	eventTypes = []string{
		"workflow.started", "workflow.failed", "workflow.completed", "workflow.declined", "workflow.voided",
	}
	methods      = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	contentTypes = []string{
		"application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/html", ";", "",
	}
	previews = []string{
		"", "{}", `{"a":[1,null,{"b":"\u0000"}]}`, " {}\n", "{}{}", `{"a"`, "[1]", "null", "true", "12", `"text"`,
		"<html>&amp;</html>", "naïve 漢字 🪝", "\ufffd\u2028",
	}
)

// generator makes records without regard to which of their fields go together: the shapes must be
// valid all the same. Only what the store promises of a row holds.
type generator struct{ *rand.Rand }

func (g generator) attempt() webhook.DeliveryAttempt {
	started := g.instant()
	return webhook.DeliveryAttempt{
		ID: g.id("wa_"), TenantID: g.text(), EventID: g.id("evt_"), EventType: g.text(),
		DeliveryID: g.id("wd_"), EndpointID: g.id("we_"), AttemptNumber: 1 + g.IntN(30),
		Trigger: pick(g, triggers), BulkRetryID: zeroOr(g, g.id("br_")), Status: pick(g, attemptStatuses),
		Method: pick(g, methods), URL: g.text(), StatusCode: nilOr(g, 1+g.IntN(999)),
		ResponseHeaders: g.headers(), ResponseBodyPreview: nilOr(g, pick(g, previews)),
		ResponseBodyTruncated: g.IntN(4) == 0, Error: zeroOr(g, g.text()), StartedAt: started,
		DeliveredAt: nilOr(g, started.Add(g.wait())), RespondedAt: nilOr(g, started.Add(g.wait())),
		CompletedAt: started.Add(g.wait()), DurationMS: g.Int64N(300_000), RetryAfterMS: nilOr(g, g.Int64()),
		NextAttemptAt: nilOr(g, g.instant()), CreatedAt: g.instant(), UpdatedAt: g.instant(),
		DetailPrunedAt: nilOr(g, g.instant()),
	}
}

func (g generator) item() webhook.DeliveryListItem {
	state := pick(g, deliveryStates)
	item := webhook.DeliveryListItem{
		ID: g.id("wd_"), TenantID: g.text(), EventID: g.id("evt_"), EventType: pick(g, eventTypes),
		EndpointID: g.id("we_"), Status: state.Status(), State: state, AttemptCount: g.IntN(3),
		NextRetryAt: nilOr(g, g.instant()), DueAt: nilOr(g, g.instant()), CreatedAt: g.instant(),
		UpdatedAt: g.instant(), Attributes: map[string]string{},
	}
	if item.AttemptCount > 0 {
		item.LastAttempt = &webhook.LastAttempt{AttemptedAt: g.instant()}
		if g.IntN(2) == 0 {
			item.LastAttempt.ResponseStatus = new(1 + g.IntN(999))
		} else {
			item.LastAttempt.ErrorMessage = new(g.text())
		}
	}
	for _, name := range []string{"envelopeKey", "participantEmail", "stepKey", "workflowId", "other"} {
		if g.IntN(2) == 0 {
			item.Attributes[name] = pick(g, []string{g.text(), g.id("wf_"), g.id("wd_")})
		}
	}
	return item
}

func (g generator) headers() map[string]string {
	if g.IntN(4) == 0 {
		return nil
	}
	headers := map[string]string{}
	if g.IntN(4) > 0 {
		headers[pick(g, []string{"Content-Type", "content-type"})] = pick(g, contentTypes)
	}
	return headers
}

func (g generator) id(prefix string) string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	text := []byte(prefix)
	for range 26 {
		text = append(text, alphabet[g.IntN(len(alphabet))])
	}
	return string(text)
}

// instant is in UTC and whole microseconds, as all times of the records, up to the year 2112.
func (g generator) instant() time.Time { return time.UnixMicro(g.Int64N(1 << 52)).UTC() }

func (g generator) wait() time.Duration {
	return time.Duration(g.Int64N(300_000_000)) * time.Microsecond
}

func (g generator) text() string { return pick(g, previews) }

func pick[T any](g generator, from []T) T { return from[g.IntN(len(from))] }

func nilOr[T any](g generator, v T) *T {
	if g.IntN(3) == 0 {
		return nil
	}
	return &v
}

func zeroOr[T any](g generator, v T) (zero T) {
	if g.IntN(3) == 0 {
		return zero
	}
	return v
}
