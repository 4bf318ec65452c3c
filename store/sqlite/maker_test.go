package sqlite_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// maker makes rows with IDs of its own.
type maker struct {
	id.Generator
	t   testing.TB
	st  webhook.Store
	now time.Time
}

func (m *maker) endpoint() string {
	row, err := m.st.CreateEndpoint(m.t.Context(), webhook.EndpointRow{
		ID: m.New(id.Endpoint, m.now), State: webhook.EndpointEnabled, URL: "https://example.com/hook",
		CreatedAt: m.now, UpdatedAt: m.now,
	})
	require.NoError(m.t, err)
	return row.ID
}

func (m *maker) generation() int64 {
	_, g, err := m.st.SyncEndpoints(m.t.Context(), 0, 0)
	require.NoError(m.t, err)
	return g
}

// payload is a kilobyte, as in the measurements of others.
var payload = func() []byte {
	b := []byte(`{"data":"`)
	for len(b) < 1022 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}()

// send makes a group of one event with one delivery, leased to owner if there is one.
func (m *maker) send(generation int64, endpointID, owner string) webhook.SendGroup {
	return webhook.SendGroup{Generation: generation, Events: []webhook.NewEvent{{
		Event: webhook.Event{
			ID: m.New(id.Event, m.now), Type: "order.created", Payload: payload,
			ContentType: "application/json", CreatedAt: m.now,
		},
		Deliveries: []webhook.NewDelivery{{
			ID: m.New(id.Delivery, m.now), EndpointID: endpointID, DueAt: m.now,
			LeasedBy: owner, LeaseUntil: m.now.Add(30 * time.Second),
		}},
	}}}
}

// success is as a dispatcher reports the first attempt of what it was handed.
func (m *maker) success(deliveryID string) webhook.Outcome {
	status, preview, at := 200, `{"ok":true}`, m.now
	return webhook.Outcome{DeliveryID: deliveryID, Lease: 1, State: webhook.StateSucceeded,
		Attempt: &webhook.DeliveryAttempt{
			ID: id.Attempt + strings.TrimPrefix(deliveryID, id.Delivery), Trigger: webhook.TriggerInitial, Status: webhook.AttemptSucceeded,
			Method: "POST", URL: "https://example.com/hook", RemoteAddr: "192.0.2.1:443", StatusCode: &status,
			RequestHeaders: map[string]string{
				"content-type": "application/json", "user-agent": "outhook-webhook/1", "webhook-id": "evt",
				"webhook-timestamp": "1767225600", "webhook-signature": "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
			},
			ResponseHeaders:     map[string]string{"Content-Type": "application/json", "Date": "Sun, 01 Mar 2026 12:00:00 GMT"},
			ResponseBodyPreview: &preview, StartedAt: at, DeliveredAt: &at, RespondedAt: &at, CompletedAt: at,
			DurationMS: 7, Timings: &webhook.Timings{TTFBMS: 6.5}, CreatedAt: at, UpdatedAt: at,
		}}
}
