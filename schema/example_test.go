package schema_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

// answered is an automatic retry that the receiver answered with a 500.
func answered() webhook.DeliveryAttempt {
	start := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	return webhook.DeliveryAttempt{
		ID:                  "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
		TenantID:            "acme",
		EventID:             "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:           "order.created",
		DeliveryID:          "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		EndpointID:          "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		AttemptNumber:       2,
		Trigger:             webhook.TriggerAutomatic,
		Status:              webhook.AttemptFailed,
		Method:              "POST",
		URL:                 "https://example.com/hooks",
		StatusCode:          new(500),
		ResponseHeaders:     map[string]string{"Content-Type": "application/json"},
		ResponseBodyPreview: new(`{"error":"out of order"}`),
		ErrorCode:           webhook.CodeBadResponse,
		StartedAt:           start,
		DeliveredAt:         new(start.Add(3 * time.Millisecond)),
		RespondedAt:         new(start.Add(80 * time.Millisecond)),
		CompletedAt:         start.Add(81 * time.Millisecond),
		DurationMS:          81,
		CreatedAt:           start.Add(82 * time.Millisecond),
		UpdatedAt:           start.Add(82 * time.Millisecond),
	}
}

func printJSON(shape any) {
	text, err := json.MarshalIndent(shape, "", "  ")
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func ExampleNewInvocationAttempt() {
	printJSON(schema.NewInvocationAttempt(answered()))
	// Output:
	// {
	//   "id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
	//   "invocation_id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
	//   "status": "failed",
	//   "response_code": 500,
	//   "response_body": "{\"error\":\"out of order\"}",
	//   "response_headers": {
	//     "Content-Type": "application/json"
	//   },
	//   "error_message": "HTTP 500",
	//   "created_at": "2026-11-21T10:00:00Z",
	//   "duration_ms": 81
	// }
}

func ExampleNewDeliveryAttempt() {
	printJSON(schema.NewDeliveryAttempt(answered()))
	// Output:
	// {
	//   "id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
	//   "workspaceId": "acme",
	//   "deliveryId": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
	//   "attemptNumber": 2,
	//   "kind": "auto_retry",
	//   "url": "https://example.com/hooks",
	//   "statusCode": 500,
	//   "error": null,
	//   "durationMs": 81,
	//   "responseHeaders": {
	//     "Content-Type": "application/json"
	//   },
	//   "responseBodyPreview": "{\"error\":\"out of order\"}",
	//   "startedAt": "2026-11-21T10:00:00Z",
	//   "completedAt": "2026-11-21T10:00:00.081Z"
	// }
}

func ExampleNewEventAttempt() {
	printJSON(schema.NewEventAttempt(answered()))
	// Output:
	// {
	//   "id": "wa_01jv8m7qfj6xj9gkz7a4s2h8ey",
	//   "team_id": "acme",
	//   "event_id": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
	//   "destination_id": "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
	//   "response_status": 500,
	//   "attempt_number": 2,
	//   "trigger": "AUTOMATIC",
	//   "error_code": "BAD_RESPONSE",
	//   "body": {
	//     "error": "out of order"
	//   },
	//   "requested_url": "https://example.com/hooks",
	//   "http_method": "POST",
	//   "status": "FAILED",
	//   "delivered_at": "2026-11-21T10:00:00.003Z",
	//   "responded_at": "2026-11-21T10:00:00.08Z",
	//   "delivery_latency": 3,
	//   "response_latency": 80,
	//   "updated_at": "2026-11-21T10:00:00.082Z",
	//   "created_at": "2026-11-21T10:00:00.082Z"
	// }
}

func ExampleNewDeliveryListItem() {
	start := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	printJSON(schema.NewDeliveryListItem(webhook.DeliveryListItem{
		ID:            "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
		EventID:       "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
		EventType:     "workflow.completed",
		EndpointID:    "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
		Status:        webhook.StatusPending,
		State:         webhook.StateScheduled,
		AttemptCount:  1,
		LastAttempt:   &webhook.LastAttempt{AttemptedAt: start, ErrorMessage: new("connection refused")},
		LastErrorCode: webhook.CodeConnectionRefused,
		NextRetryAt:   new(start.Add(5 * time.Second)),
		CreatedAt:     start,
		UpdatedAt:     start.Add(time.Millisecond),
		Attributes:    map[string]string{"envelopeKey": "contract-7", "workflowId": "wf_01jv8m7qfj6xj9gkz7a4s2h8ez"},
	}))
	// Output:
	// {
	//   "attemptCount": 1,
	//   "createdAt": "2026-11-21T10:00:00Z",
	//   "eventId": "evt_01jv8m7qfj6xj9gkz7a4s2h8ea",
	//   "eventType": "workflow.completed",
	//   "id": "wd_01jv8m7qfj6xj9gkz7a4s2h8eb",
	//   "status": "pending",
	//   "updatedAt": "2026-11-21T10:00:00.001Z",
	//   "webhookEndpointId": "we_01jv8m7qfj6xj9gkz7a4s2h8ec",
	//   "envelopeKey": "contract-7",
	//   "lastAttempt": {
	//     "attemptedAt": "2026-11-21T10:00:00Z",
	//     "errorMessage": "connection refused"
	//   },
	//   "nextRetryAt": "2026-11-21T10:00:05Z",
	//   "workflowId": "wf_01jv8m7qfj6xj9gkz7a4s2h8ez"
	// }
}
