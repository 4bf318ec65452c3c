package schema_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

func TestExactJSON(t *testing.T) {
	tests := []struct {
		name  string
		shape any
		want  string
	}{
		{"InvocationAttempt, full", schema.NewInvocationAttempt(fullAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"invocation_id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"status": "success",
			"response_code": 202,
			"response_body": "{\"ok\": true, \"n\": 12345678901234567890}",
			"response_headers": {
				"Content-Type": "application/json",
				"X-Trace": "a, b"
			},
			"created_at": "2026-11-21T10:00:00.000001Z",
			"duration_ms": 251
		}`},
		{"InvocationAttempt, sparse", schema.NewInvocationAttempt(sparseAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"invocation_id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"status": "failed",
			"error_message": "process died or lost its lease; the request may have been sent",
			"created_at": "2026-11-21T10:00:00Z",
			"duration_ms": 30000
		}`},
		{"DeliveryAttempt, full", schema.NewDeliveryAttempt(fullAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"workspaceId": "acme",
			"deliveryId": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"attemptNumber": 4,
			"kind": "manual_retry",
			"url": "https://example.com/hooks?x=1",
			"statusCode": 202,
			"error": null,
			"durationMs": 251,
			"responseHeaders": {
				"Content-Type": "application/json",
				"X-Trace": "a, b"
			},
			"responseBodyPreview": "{\"ok\": true, \"n\": 12345678901234567890}",
			"startedAt": "2026-11-21T10:00:00.000001Z",
			"completedAt": "2026-11-21T10:00:00.251234Z"
		}`},
		{"DeliveryAttempt, sparse", schema.NewDeliveryAttempt(sparseAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"workspaceId": "",
			"deliveryId": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"attemptNumber": 1,
			"kind": "initial",
			"url": "https://example.com/hooks",
			"statusCode": null,
			"error": "process died or lost its lease; the request may have been sent",
			"durationMs": 30000,
			"responseHeaders": null,
			"responseBodyPreview": null,
			"startedAt": "2026-11-21T10:00:00Z",
			"completedAt": "2026-11-21T10:00:30Z"
		}`},
		{"DeliveryListItem, full", schema.NewDeliveryListItem(fullItem()), `{
			"attemptCount": 2,
			"createdAt": "2026-11-21T10:00:00Z",
			"eventId": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
			"eventType": "workflow.declined",
			"id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"status": "pending",
			"updatedAt": "2026-11-21T10:00:05.25Z",
			"webhookEndpointId": "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
			"envelopeKey": "env-7",
			"lastAttempt": {
				"attemptedAt": "2026-11-21T10:00:05.000001Z",
				"responseStatus": 503
			},
			"nextRetryAt": "2026-11-21T10:05:05Z",
			"participantEmail": "ada@example.com",
			"stepKey": "sign",
			"workflowId": "wf_01jv8m7qfj6xj9gkz7a4s2h8ez"
		}`},
		{"DeliveryListItem, sparse", schema.NewDeliveryListItem(sparseItem()), `{
			"attemptCount": 0,
			"createdAt": "2026-11-21T10:00:00Z",
			"eventId": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
			"eventType": "workflow.started",
			"id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
			"status": "pending",
			"updatedAt": "2026-11-21T10:00:00Z",
			"webhookEndpointId": "we_01jv8m7qfj6xj9gkz7a4s2h8ec"
		}`},
		{"EventAttempt, full", schema.NewEventAttempt(fullAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"team_id": "acme",
			"event_id": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
			"destination_id": "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
			"response_status": 202,
			"attempt_number": 4,
			"trigger": "BULK_RETRY",
			"body": {
				"ok": true,
				"n": 12345678901234567890
			},
			"requested_url": "https://example.com/hooks?x=1",
			"http_method": "PUT",
			"bulk_retry_id": "br_01jv8m7qfj6xj9gkz7a4s2h8ed",
			"status": "SUCCESSFUL",
			"successful_at": "2026-11-21T10:00:00.251234Z",
			"delivered_at": "2026-11-21T10:00:00.012601Z",
			"responded_at": "2026-11-21T10:00:00.250001Z",
			"delivery_latency": 12,
			"response_latency": 250,
			"updated_at": "2026-11-21T10:00:00.4Z",
			"created_at": "2026-11-21T10:00:00.3Z"
		}`},
		{"EventAttempt, sparse", schema.NewEventAttempt(sparseAttempt()), `{
			"id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
			"team_id": "",
			"event_id": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
			"destination_id": "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
			"attempt_number": 1,
			"trigger": "INITIAL",
			"error_code": "UNKNOWN",
			"requested_url": "https://example.com/hooks",
			"http_method": "POST",
			"status": "FAILED",
			"updated_at": "2026-11-21T10:00:30Z",
			"created_at": "2026-11-21T10:00:30Z"
		}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.MarshalIndent(tt.shape, "\t\t", "\t")
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
		})
	}
}

// fullAttempt is a bulk retry that succeeded; every field that a success can have is set.
func fullAttempt() webhook.DeliveryAttempt {
	return webhook.DeliveryAttempt{
		ID:                    "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
		TenantID:              "acme",
		EventID:               "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:             "workflow.completed",
		DeliveryID:            "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		EndpointID:            "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		AttemptNumber:         4,
		Trigger:               webhook.TriggerBulkRetry,
		BulkRetryID:           "br_01jv8m7qfj6xj9gkz7a4s2h8ed",
		Status:                webhook.AttemptSucceeded,
		Method:                "PUT",
		URL:                   "https://example.com/hooks?x=1",
		RequestHeaders:        map[string]string{"Webhook-Id": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea"},
		RemoteAddr:            "93.184.216.34:443",
		StatusCode:            new(202),
		ResponseHeaders:       map[string]string{"Content-Type": "application/json", "X-Trace": "a, b"},
		ResponseBodyPreview:   new(`{"ok": true, "n": 12345678901234567890}`),
		ResponseBodyTruncated: false,
		StartedAt:             instant("2026-11-21T10:00:00.000001Z"),
		DeliveredAt:           new(instant("2026-11-21T10:00:00.012601Z")),
		RespondedAt:           new(instant("2026-11-21T10:00:00.250001Z")),
		CompletedAt:           instant("2026-11-21T10:00:00.251234Z"),
		DurationMS:            251,
		Timings:               &webhook.Timings{DNSMS: 1, ConnectMS: 2, TLSMS: 3, TTFBMS: 4},
		Resends:               1,
		RetryAfterMS:          new(int64(5000)),
		NextAttemptAt:         new(instant("2026-11-21T10:05:00Z")),
		CreatedAt:             instant("2026-11-21T10:00:00.3Z"),
		UpdatedAt:             instant("2026-11-21T10:00:00.4Z"),
	}
}

// sparseAttempt is the trace of a lost lease: as little is known as can be. Its tenant is "".
func sparseAttempt() webhook.DeliveryAttempt {
	return webhook.DeliveryAttempt{
		ID:            "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
		EventID:       "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:     "workflow.completed",
		DeliveryID:    "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		EndpointID:    "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		AttemptNumber: 1,
		Trigger:       webhook.TriggerInitial,
		Status:        webhook.AttemptInterrupted,
		Method:        "POST",
		URL:           "https://example.com/hooks",
		ErrorCode:     webhook.CodeInterrupted,
		Error:         webhook.InterruptedError,
		StartedAt:     instant("2026-11-21T10:00:00Z"),
		CompletedAt:   instant("2026-11-21T10:00:30Z"),
		DurationMS:    30000,
		CreatedAt:     instant("2026-11-21T10:00:30Z"),
		UpdatedAt:     instant("2026-11-21T10:00:30Z"),
	}
}

func fullItem() webhook.DeliveryListItem {
	return webhook.DeliveryListItem{
		ID:            "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		TenantID:      "acme",
		EventID:       "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:     "workflow.declined",
		EndpointID:    "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		Status:        webhook.StatusPending,
		State:         webhook.StateScheduled,
		AttemptCount:  2,
		MaxAttempts:   new(10),
		DeferralCount: 1,
		LastAttempt: &webhook.LastAttempt{
			AttemptedAt:    instant("2026-11-21T10:00:05.000001Z"),
			ResponseStatus: new(503),
		},
		LastErrorCode: webhook.CodeBadResponse,
		NextRetryAt:   new(instant("2026-11-21T10:05:05Z")),
		DueAt:         new(instant("2026-11-21T10:05:05Z")),
		ExpiresAt:     new(instant("2026-12-21T10:00:00Z")),
		CreatedAt:     instant("2026-11-21T10:00:00Z"),
		UpdatedAt:     instant("2026-11-21T10:00:05.25Z"),
		Attributes: map[string]string{
			"envelopeKey":      "env-7",
			"participantEmail": "ada@example.com",
			"stepKey":          "sign",
			"workflowId":       "wf_01jv8m7qfj6xj9gkz7a4s2h8ez",
			"region":           "eu",
		},
	}
}

func sparseItem() webhook.DeliveryListItem {
	return webhook.DeliveryListItem{
		ID:         "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		EventID:    "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:  "workflow.started",
		EndpointID: "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		Status:     webhook.StatusPending,
		State:      webhook.StateQueued,
		DueAt:      new(instant("2026-11-21T10:00:00Z")),
		CreatedAt:  instant("2026-11-21T10:00:00Z"),
		UpdatedAt:  instant("2026-11-21T10:00:00Z"),
	}
}

func instant(s string) time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return at
}
