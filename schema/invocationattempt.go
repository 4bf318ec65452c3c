package schema

import (
	"fmt"
	"time"

	"github.com/outhook/webhook"
)

// InvocationAttempt is an attempt in snake_case, in which every field is optional.
type InvocationAttempt struct {
	ID              string            `json:"id"`
	InvocationID    string            `json:"invocation_id"`
	Status          string            `json:"status"` // success or failed
	ResponseCode    *int              `json:"response_code,omitempty"`
	ResponseBody    *string           `json:"response_body,omitempty"` // the beginning of it
	ResponseHeaders map[string]string `json:"response_headers,omitzero"`
	ErrorMessage    string            `json:"error_message,omitempty"`
	CreatedAt       time.Time         `json:"created_at"`  // when the attempt was made
	DurationMS      int64             `json:"duration_ms"` // milliseconds
}

// NewInvocationAttempt shows a as an InvocationAttempt.
func NewInvocationAttempt(a webhook.DeliveryAttempt) InvocationAttempt {
	status := "failed"
	if a.Status == webhook.AttemptSucceeded {
		status = "success"
	}
	return InvocationAttempt{
		ID:              a.ID,
		InvocationID:    a.DeliveryID,
		Status:          status,
		ResponseCode:    a.StatusCode,
		ResponseBody:    a.ResponseBodyPreview,
		ResponseHeaders: a.ResponseHeaders,
		ErrorMessage:    errorMessage(a),
		CreatedAt:       a.StartedAt,
		DurationMS:      a.DurationMS,
	}
}

func errorMessage(a webhook.DeliveryAttempt) string {
	switch {
	case a.Status == webhook.AttemptSucceeded:
		return ""
	case a.StatusCode != nil:
		return fmt.Sprintf("HTTP %d", *a.StatusCode)
	}
	return a.Error
}
