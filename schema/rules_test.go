package schema_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

func TestStatus(t *testing.T) {
	for status, want := range map[webhook.AttemptStatus][2]string{
		webhook.AttemptSucceeded:   {"success", "SUCCESSFUL"},
		webhook.AttemptFailed:      {"failed", "FAILED"},
		webhook.AttemptInterrupted: {"failed", "FAILED"},
		webhook.AttemptCanceled:    {"failed", "FAILED"},
	} {
		a := fullAttempt()
		a.Status = status
		event := schema.NewEventAttempt(a)
		require.Equal(t, want, [2]string{schema.NewInvocationAttempt(a).Status, event.Status}, status)
		require.Equal(t, status == webhook.AttemptSucceeded, event.SuccessfulAt != nil, status)
	}
}

func TestKindAndTrigger(t *testing.T) {
	for _, tt := range []struct {
		trigger       webhook.Trigger
		number        int
		kind, publish string
	}{
		{webhook.TriggerInitial, 1, "initial", "INITIAL"},
		{webhook.TriggerInitial, 2, "initial", "INITIAL"}, // its first claim was lost
		{webhook.TriggerAutomatic, 2, "auto_retry", "AUTOMATIC"},
		{webhook.TriggerManual, 11, "manual_retry", "MANUAL"},
		{webhook.TriggerManual, 1, "manual_retry", "MANUAL"}, // asked for before it was due
		{webhook.TriggerBulkRetry, 3, "manual_retry", "BULK_RETRY"},
		{webhook.TriggerUnpause, 1, "initial", "UNPAUSE"}, // held before it ever ran
		{webhook.TriggerUnpause, 2, "auto_retry", "UNPAUSE"},
	} {
		a := webhook.DeliveryAttempt{Trigger: tt.trigger, AttemptNumber: tt.number}
		require.Equal(t, tt.kind, schema.NewDeliveryAttempt(a).Kind, "%s %d", tt.trigger, tt.number)
		require.Equal(t, tt.publish, schema.NewEventAttempt(a).Trigger)
	}
}

func TestErrorText(t *testing.T) {
	for _, tt := range []struct {
		name       string
		status     webhook.AttemptStatus
		code       *int
		text       string
		invocation string
		delivery   *string
	}{
		{"success", webhook.AttemptSucceeded, new(204), "", "", nil},
		{"answered", webhook.AttemptFailed, new(500), "", "HTTP 500", nil},
		{"answered oddly", webhook.AttemptFailed, new(99), "", "HTTP 99", nil},
		{"no answer", webhook.AttemptFailed, nil, "connection refused", "connection refused", new("connection refused")},
		{"canceled", webhook.AttemptCanceled, nil, "canceled", "canceled", new("canceled")},
	} {
		a := webhook.DeliveryAttempt{Status: tt.status, StatusCode: tt.code, Error: tt.text}
		require.Equal(t, tt.invocation, schema.NewInvocationAttempt(a).ErrorMessage, tt.name)
		require.Equal(t, tt.delivery, schema.NewDeliveryAttempt(a).Error, tt.name)
	}
}

func TestPrunedDiffersFromEmpty(t *testing.T) {
	empty := fullAttempt()
	empty.ResponseHeaders, empty.ResponseBodyPreview = map[string]string{}, new("")
	invocation, delivery := asMap(t, schema.NewInvocationAttempt(empty)), asMap(t, schema.NewDeliveryAttempt(empty))
	require.Equal(t, map[string]any{}, invocation["response_headers"])
	require.Equal(t, "", invocation["response_body"])
	require.Equal(t, map[string]any{}, delivery["responseHeaders"])
	require.Equal(t, "", delivery["responseBodyPreview"])
	require.Equal(t, "", asMap(t, schema.NewEventAttempt(empty))["body"])

	pruned := fullAttempt()
	pruned.ResponseHeaders, pruned.ResponseBodyPreview = nil, nil
	pruned.DetailPrunedAt = new(instant("2026-11-28T10:00:00Z"))
	invocation, delivery = asMap(t, schema.NewInvocationAttempt(pruned)), asMap(t, schema.NewDeliveryAttempt(pruned))
	require.NotContains(t, invocation, "response_headers")
	require.NotContains(t, invocation, "response_body")
	require.Contains(t, delivery, "responseHeaders")
	require.Nil(t, delivery["responseHeaders"])
	require.Contains(t, delivery, "responseBodyPreview")
	require.Nil(t, delivery["responseBodyPreview"])
	require.NotContains(t, asMap(t, schema.NewEventAttempt(pruned)), "body")
}

func TestErrorCodes(t *testing.T) {
	own := map[webhook.ErrorCode]webhook.ErrorCode{
		"ENDPOINT_GONE":        "BAD_RESPONSE",
		"BLOCKED_ADDRESS":      "NETWORK_ERROR",
		"PROXY_ERROR":          "NETWORK_ERROR",
		"TLS_CERT_INVALID":     "SSL_ERROR_CA_UNKNOWN",
		"TLS_HANDSHAKE_FAILED": "PROTOCOL_ERROR",
		"RESPONSE_TOO_LARGE":   "PROTOCOL_ERROR",
		"ENDPOINT_DISABLED":    "CANCELLED",
		"INTERRUPTED":          "UNKNOWN",
	}
	published := publishedErrorCodes(t)
	require.Len(t, published, 33)
	require.Len(t, webhook.ErrorCodes(), len(published)+len(own))
	for _, code := range webhook.ErrorCodes() {
		want := code
		if mapped, ours := own[code]; ours {
			want = mapped
		}
		shown := schema.NewEventAttempt(webhook.DeliveryAttempt{ErrorCode: code}).ErrorCode
		require.Equal(t, want, shown)
		require.Contains(t, published, string(shown))
	}
}

func TestEventAttemptBody(t *testing.T) {
	const object = ` {"a":{"b":[1,2]}}` + "\n"
	asText := map[string]string{"Content-Type": "text/plain"}
	asJSON := map[string]string{"Content-Type": "application/json"}
	for _, tt := range []struct {
		name      string
		headers   map[string]string
		preview   string
		truncated bool
		object    bool
	}{
		{"object", asJSON, object, false, true},
		{"empty object", asJSON, "{}", false, true},
		{"parameters", map[string]string{"Content-Type": "application/json; charset=utf-8"}, object, false, true},
		{"broken parameter", map[string]string{"Content-Type": "application/json; charset"}, object, false, true},
		{"odd cases", map[string]string{"content-TYPE": "Application/JSON"}, object, false, true},
		{"suffix", map[string]string{"Content-Type": "application/problem+json"}, object, false, true},
		{"truncated", asJSON, object, true, false},
		{"text", asText, object, false, false},
		{"nearly JSON", map[string]string{"Content-Type": "application/jsonl"}, object, false, false},
		{"two types", map[string]string{"Content-Type": "text/html, application/hal+json"}, object, false, false},
		{"no type", nil, object, false, false},
		{"other header", map[string]string{"Accept": "application/json"}, object, false, false},
		{"broken", asJSON, `{"a":`, false, false},
		{"two objects", asJSON, `{}{}`, false, false},
		{"array", asJSON, `[{}]`, false, false},
		{"string", asJSON, `"{}"`, false, false},
		{"null", asJSON, `null`, false, false},
		{"empty", asJSON, ``, false, false},
		{"no-break space", asJSON, "\u00a0{}", false, false},
		{"markup", asText, `<b>"&"</b>` + "\u2028", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := asMap(t, schema.NewEventAttempt(webhook.DeliveryAttempt{
				ResponseHeaders: tt.headers, ResponseBodyPreview: &tt.preview, ResponseBodyTruncated: tt.truncated,
			}))["body"]
			if !tt.object {
				require.Equal(t, tt.preview, body)
				return
			}
			require.IsType(t, map[string]any{}, body)
			again, err := json.Marshal(body)
			require.NoError(t, err)
			require.JSONEq(t, tt.preview, string(again))
		})
	}
}

func TestLatencies(t *testing.T) {
	a := fullAttempt()
	a.RespondedAt = nil
	event := schema.NewEventAttempt(a)
	require.Equal(t, int64(12), *event.DeliveryLatency)
	require.Nil(t, event.ResponseLatency)

	a.DeliveredAt = new(a.StartedAt)
	require.Equal(t, int64(0), *schema.NewEventAttempt(a).DeliveryLatency)
	require.Equal(t, json.Number("0"), asMap(t, schema.NewEventAttempt(a))["delivery_latency"], "0 is a value, not absence")
}

func TestNextRetryAt(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*webhook.DeliveryListItem)
		shown  bool
	}{
		{"scheduled", func(*webhook.DeliveryListItem) {}, true},
		{"due", func(d *webhook.DeliveryListItem) { d.State = webhook.StateQueued }, true},
		{"under way", func(d *webhook.DeliveryListItem) { d.State = webhook.StateSending }, true},
		{"held", func(d *webhook.DeliveryListItem) { d.State = webhook.StateHeld }, false},
		{"no response", func(d *webhook.DeliveryListItem) { d.LastAttempt.ResponseStatus = nil }, true},
		{"answered 99", func(d *webhook.DeliveryListItem) { d.LastAttempt.ResponseStatus = new(99) }, true},
		{"answered 300", func(d *webhook.DeliveryListItem) { d.LastAttempt.ResponseStatus = new(300) }, true},
		{"never tried", func(d *webhook.DeliveryListItem) { d.LastAttempt, d.AttemptCount = nil, 0 }, false},
		{"retried after success", func(d *webhook.DeliveryListItem) { d.LastAttempt.ResponseStatus = new(200) }, false},
		{"success", func(d *webhook.DeliveryListItem) { d.Status = webhook.StatusSuccess }, false},
		{"failed", func(d *webhook.DeliveryListItem) { d.Status = webhook.StatusFailed }, false},
		{"unknown", func(d *webhook.DeliveryListItem) { d.NextRetryAt = nil }, false},
	} {
		item := fullItem()
		tt.change(&item)
		keys := asMap(t, schema.NewDeliveryListItem(item))
		if tt.shown {
			require.Equal(t, "2026-11-21T10:05:05Z", keys["nextRetryAt"], tt.name)
		} else {
			require.NotContains(t, keys, "nextRetryAt", tt.name)
		}
	}
}

func TestLastAttempt(t *testing.T) {
	item := fullItem()
	item.LastAttempt.ErrorMessage = new("must not show beside a status")
	require.Equal(t, map[string]any{
		"attemptedAt": "2026-11-21T10:00:05.000001Z", "responseStatus": json.Number("503"),
	}, asMap(t, schema.NewDeliveryListItem(item))["lastAttempt"])

	item.LastAttempt.ResponseStatus, item.LastAttempt.ErrorMessage = nil, new("ETIMEDOUT")
	require.Equal(t, map[string]any{
		"attemptedAt": "2026-11-21T10:00:05.000001Z", "errorMessage": "ETIMEDOUT",
	}, asMap(t, schema.NewDeliveryListItem(item))["lastAttempt"])
}

func TestAttributes(t *testing.T) {
	const good = "wf_01jv8m7qfj6xj9gkz7a4s2h8ez"
	for value, shown := range map[string]bool{
		good:                         true,
		"":                           false,
		"01jv8m7qfj6xj9gkz7a4s2h8ez": false,
		good[:len(good)-1]:           false,
		good + "0":                   false,
		good + "\n":                  false,
		"x" + good:                   false,
		strings.ToUpper(good):        false,
		"wd_" + good[3:]:             false,
	} {
		item := sparseItem()
		item.Attributes = map[string]string{"workflowId": value, "region": "eu", "envelopeKey": ""}
		keys := asMap(t, schema.NewDeliveryListItem(item))
		if shown {
			require.Equal(t, value, keys["workflowId"])
		} else {
			require.NotContains(t, keys, "workflowId", "%q", value)
		}
		require.NotContains(t, keys, "region")
		require.NotContains(t, keys, "envelopeKey", "an empty one does not apply")
	}
}

func TestAnyEventType(t *testing.T) {
	item := fullItem()
	item.EventType = "order.created"
	require.Equal(t, "order.created", schema.NewDeliveryListItem(item).EventType)
}
