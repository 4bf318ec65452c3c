package schema

import (
	"time"

	"github.com/outhook/webhook"
)

// DeliveryAttempt is an attempt in camelCase, in which every field stands, null where unknown.
type DeliveryAttempt struct {
	ID                  string            `json:"id"`
	WorkspaceID         string            `json:"workspaceId"`
	DeliveryID          string            `json:"deliveryId"`
	AttemptNumber       int               `json:"attemptNumber"` // from 1
	Kind                string            `json:"kind"`          // initial, auto_retry or manual_retry
	URL                 string            `json:"url"`           // as it was for this attempt
	StatusCode          *int              `json:"statusCode"`
	Error               *string           `json:"error"`      // set only where no response came
	DurationMS          int64             `json:"durationMs"` // milliseconds
	ResponseHeaders     map[string]string `json:"responseHeaders"`
	ResponseBodyPreview *string           `json:"responseBodyPreview"`
	StartedAt           time.Time         `json:"startedAt"`
	CompletedAt         time.Time         `json:"completedAt"`
}

// NewDeliveryAttempt shows a as a DeliveryAttempt.
func NewDeliveryAttempt(a webhook.DeliveryAttempt) DeliveryAttempt {
	shape := DeliveryAttempt{
		ID:                  a.ID,
		WorkspaceID:         a.TenantID,
		DeliveryID:          a.DeliveryID,
		AttemptNumber:       a.AttemptNumber,
		Kind:                kind(a),
		URL:                 a.URL,
		StatusCode:          a.StatusCode,
		DurationMS:          a.DurationMS,
		ResponseHeaders:     a.ResponseHeaders,
		ResponseBodyPreview: a.ResponseBodyPreview,
		StartedAt:           a.StartedAt,
		CompletedAt:         a.CompletedAt,
	}
	if a.Error != "" {
		shape.Error = &a.Error
	}
	return shape
}

func kind(a webhook.DeliveryAttempt) string {
	switch a.Trigger {
	case webhook.TriggerManual, webhook.TriggerBulkRetry:
		return "manual_retry"
	case webhook.TriggerUnpause:
		if a.AttemptNumber == 1 {
			return "initial" // held before it ever ran
		}
		return "auto_retry"
	case webhook.TriggerAutomatic:
		return "auto_retry"
	}
	return "initial"
}
