package schema

import (
	"encoding/json"
	"mime"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// EventAttempt is an attempt in snake_case, in which what is absent is left out.
type EventAttempt struct {
	ID              string            `json:"id"`
	TeamID          string            `json:"team_id"`
	EventID         string            `json:"event_id"`
	DestinationID   string            `json:"destination_id"`
	ResponseStatus  *int              `json:"response_status,omitempty"`
	AttemptNumber   int               `json:"attempt_number,omitempty"` // from 1
	Trigger         string            `json:"trigger,omitempty"`        // INITIAL, AUTOMATIC, MANUAL, BULK_RETRY or UNPAUSE
	ErrorCode       webhook.ErrorCode `json:"error_code,omitempty"`     // one of the 33 of the document
	Body            json.RawMessage   `json:"body,omitempty"`           // a JSON object or a JSON string
	RequestedURL    string            `json:"requested_url,omitempty"`
	HTTPMethod      string            `json:"http_method,omitempty"` // GET, POST, PUT, PATCH or DELETE
	BulkRetryID     string            `json:"bulk_retry_id,omitempty"`
	Status          string            `json:"status"` // SUCCESSFUL or FAILED
	SuccessfulAt    *time.Time        `json:"successful_at,omitempty"`
	DeliveredAt     *time.Time        `json:"delivered_at,omitempty"`
	RespondedAt     *time.Time        `json:"responded_at,omitempty"`
	DeliveryLatency *int64            `json:"delivery_latency,omitempty"` // milliseconds
	ResponseLatency *int64            `json:"response_latency,omitempty"` // milliseconds
	UpdatedAt       time.Time         `json:"updated_at"`
	CreatedAt       time.Time         `json:"created_at"`
}

// NewEventAttempt shows a as an EventAttempt.
func NewEventAttempt(a webhook.DeliveryAttempt) EventAttempt {
	shape := EventAttempt{
		ID:              a.ID,
		TeamID:          a.TenantID,
		EventID:         a.EventID,
		DestinationID:   a.EndpointID,
		ResponseStatus:  a.StatusCode,
		AttemptNumber:   a.AttemptNumber,
		Trigger:         strings.ToUpper(string(a.Trigger)),
		ErrorCode:       publishedCode(a.ErrorCode),
		Body:            body(a),
		RequestedURL:    a.URL,
		HTTPMethod:      a.Method,
		BulkRetryID:     a.BulkRetryID,
		Status:          "FAILED",
		DeliveredAt:     a.DeliveredAt,
		RespondedAt:     a.RespondedAt,
		DeliveryLatency: millisecondsBetween(a.StartedAt, a.DeliveredAt),
		ResponseLatency: millisecondsBetween(a.StartedAt, a.RespondedAt),
		UpdatedAt:       a.UpdatedAt,
		CreatedAt:       a.CreatedAt,
	}
	if a.Status == webhook.AttemptSucceeded {
		shape.Status, shape.SuccessfulAt = "SUCCESSFUL", &a.CompletedAt
	}
	return shape
}

// publishedCode replaces the library's own codes by the nearest one that the document lists.
func publishedCode(code webhook.ErrorCode) webhook.ErrorCode {
	switch code {
	case webhook.CodeEndpointGone:
		return webhook.CodeBadResponse
	case webhook.CodeBlockedAddress, webhook.CodeProxyError:
		return webhook.CodeNetworkError
	case webhook.CodeTLSCertInvalid:
		return webhook.CodeSSLErrorCAUnknown
	case webhook.CodeTLSHandshakeFailed, webhook.CodeResponseTooLarge:
		return webhook.CodeProtocolError
	case webhook.CodeEndpointDisabled:
		return webhook.CodeCancelled
	case webhook.CodeInterrupted:
		return webhook.CodeUnknown
	}
	return code
}

func body(a webhook.DeliveryAttempt) json.RawMessage {
	if a.ResponseBodyPreview == nil {
		return nil
	}
	text := *a.ResponseBodyPreview
	if !a.ResponseBodyTruncated && saysJSON(a.ResponseHeaders) && isObject(text) {
		return json.RawMessage(text)
	}
	quoted, _ := json.Marshal(text) // cannot fail on a string
	return quoted
}

func saysJSON(headers map[string]string) bool {
	for name, value := range headers {
		if !strings.EqualFold(name, "Content-Type") {
			continue
		}
		// A broken parameter is an error, but leaves the type readable.
		mediaType, _, _ := mime.ParseMediaType(value)
		if mediaType == "application/json" || strings.HasSuffix(mediaType, "+json") {
			return true
		}
	}
	return false
}

func isObject(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "{") && json.Valid([]byte(text))
}

func millisecondsBetween(start time.Time, end *time.Time) *int64 {
	if end == nil {
		return nil
	}
	elapsed := end.Sub(start).Milliseconds()
	return &elapsed
}
