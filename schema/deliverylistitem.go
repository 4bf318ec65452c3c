package schema

import (
	"regexp"
	"time"

	"github.com/outhook/webhook"
)

// DeliveryListItem is a delivery in camelCase: a row of a list, without payload and attempts.
type DeliveryListItem struct {
	AttemptCount      int                    `json:"attemptCount"`
	CreatedAt         time.Time              `json:"createdAt"`
	EventID           string                 `json:"eventId"`   // evt_…
	EventType         string                 `json:"eventType"` // any type
	ID                string                 `json:"id"`        // wd_…
	Status            webhook.DeliveryStatus `json:"status"`
	UpdatedAt         time.Time              `json:"updatedAt"`
	WebhookEndpointID string                 `json:"webhookEndpointId"` // we_…
	EnvelopeKey       string                 `json:"envelopeKey,omitempty"`
	LastAttempt       *LastAttempt           `json:"lastAttempt,omitempty"` // nil before the first attempt
	NextRetryAt       *time.Time             `json:"nextRetryAt,omitempty"`
	ParticipantEmail  string                 `json:"participantEmail,omitempty"`
	StepKey           string                 `json:"stepKey,omitempty"`
	WorkflowID        string                 `json:"workflowId,omitempty"` // wf_…
}

// LastAttempt summarises the latest attempt of a DeliveryListItem. ErrorMessage and ResponseStatus
// exclude each other.
type LastAttempt struct {
	AttemptedAt    time.Time `json:"attemptedAt"`
	ErrorMessage   *string   `json:"errorMessage,omitempty"`
	ResponseStatus *int      `json:"responseStatus,omitempty"`
}

// NewDeliveryListItem shows item as a DeliveryListItem. The fields that belong to one product's
// domain are taken from item.Attributes, under their own names; a workflowId that breaks its pattern
// is left out.
func NewDeliveryListItem(item webhook.DeliveryListItem) DeliveryListItem {
	shape := DeliveryListItem{
		AttemptCount:      item.AttemptCount,
		CreatedAt:         item.CreatedAt,
		EventID:           item.EventID,
		EventType:         item.EventType,
		ID:                item.ID,
		Status:            item.Status,
		UpdatedAt:         item.UpdatedAt,
		WebhookEndpointID: item.EndpointID,
		EnvelopeKey:       item.Attributes["envelopeKey"],
		LastAttempt:       lastAttempt(item.LastAttempt),
		ParticipantEmail:  item.Attributes["participantEmail"],
		StepKey:           item.Attributes["stepKey"],
	}
	if awaitsRetry(item) {
		shape.NextRetryAt = item.NextRetryAt
	}
	if id := item.Attributes["workflowId"]; workflowID.MatchString(id) {
		shape.WorkflowID = id
	}
	return shape
}

var workflowID = regexp.MustCompile(`^wf_[0-9a-z]{26}$`)

func lastAttempt(last *webhook.LastAttempt) *LastAttempt {
	if last == nil {
		return nil
	}
	shape := &LastAttempt{AttemptedAt: last.AttemptedAt, ResponseStatus: last.ResponseStatus}
	if last.ResponseStatus == nil {
		shape.ErrorMessage = last.ErrorMessage
	}
	return shape
}

func awaitsRetry(item webhook.DeliveryListItem) bool {
	if item.Status != webhook.StatusPending || item.State == webhook.StateHeld || item.LastAttempt == nil {
		return false
	}
	code := item.LastAttempt.ResponseStatus
	return code == nil || *code < 200 || *code > 299
}
