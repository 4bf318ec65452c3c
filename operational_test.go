package webhook_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// told is an operational event as it arrives.
type told struct {
	Type      string
	Timestamp time.Time
	Data      webhook.OperationalData
}

const (
	opsURL    = "https://ops.example/"
	sickURL   = "https://sick.example/hook?token=secret"
	sickNoURL = "https://sick.example/hook"
)

// toldOps returns what the operator was told, in the order of arrival.
func toldOps(t *testing.T, c *webhooktest.Client) (all []told) {
	for _, r := range c.Requests() {
		if r.URL == opsURL {
			var event told
			r.JSON(t, &event)
			all = append(all, event)
		}
	}
	return all
}

func byType(all []told, eventType string) (found []told) {
	for _, e := range all {
		if e.Type == eventType {
			found = append(found, e)
		}
	}
	return found
}

func operator(string) string { return "operator" }

func TestOperationalEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Operational: &webhook.Operational{Tenant: operator}, Retry: webhook.Schedule(time.Second)})
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: opsURL, EventTypes: []string{"webhook.*"}})
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: "https://all.example/"})
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: "https://all.example/", EventTypes: []string{"*", "webhook.ping"}})
		sick := b.endpoint(webhook.Endpoint{TenantID: "acme", URL: sickURL})
		b.client.On("https://sick.example/").Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		var last webhook.Receipt
		for range 6 {
			last = b.send(webhook.Event{TenantID: "acme"})
			time.Sleep(time.Minute)
		}
		all := toldOps(t, b.client)
		exhausted := byType(all, webhook.DeliveryExhaustedType)
		require.Len(t, exhausted, 6)
		require.Equal(t, webhook.OperationalData{
			TenantID: "acme", EndpointID: sick.ID, EndpointURL: sickNoURL, EventID: last.EventID, EventType: "order.created",
			DeliveryID: last.DeliveryIDs[0], AttemptCount: 2, ErrorCode: webhook.CodeBadResponse, Response: new(500),
		}, exhausted[5].Data)
		failing := byType(all, webhook.EndpointFailingType)
		require.Len(t, failing, 1)
		require.NotNil(t, failing[0].Data.FailingSince)

		b.client.On("https://sick.example/").Script(200, 410)
		b.client.On("https://sick.example/").Respond(nil)
		b.send(webhook.Event{TenantID: "acme"})
		time.Sleep(time.Minute)
		require.Len(t, byType(toldOps(t, b.client), webhook.EndpointRecoveredType), 1)
		b.send(webhook.Event{TenantID: "acme"})
		time.Sleep(time.Minute)
		disabled := byType(toldOps(t, b.client), webhook.EndpointDisabledType)
		require.Len(t, disabled, 1)
		require.Equal(t, "the receiver answered 410 Gone", disabled[0].Data.Reason)
		require.NoError(t, b.DisableEndpoint(t.Context(), sick.ID), "it is disabled already")
		time.Sleep(time.Minute)
		require.Len(t, toldOps(t, b.client), 6+3)
		for _, r := range b.client.Requests() {
			require.NotContains(t, r.URL, "all.example", "only who asks by name is told")
		}
	})
}

// A receiver of operational events that fails does not breed more of them.
func TestOperationalEventsDoNotLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Operational: &webhook.Operational{}, Retry: webhook.Schedule(time.Second)})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		b.endpoint(webhook.Endpoint{TenantID: "acme", URL: sickURL, EventTypes: []string{"order.*", "webhook.*"}})
		for range 20 {
			b.send(webhook.Event{TenantID: "acme"})
		}
		time.Sleep(time.Hour)
		counts := map[string]int{}
		events, err := b.ListEvents(t.Context(), webhook.EventQuery{TenantID: "acme", Limit: 500})
		require.NoError(t, err)
		for _, e := range events {
			counts[e.Type]++
		}
		require.Equal(t, map[string]int{"order.created": 20, webhook.DeliveryExhaustedType: 20, webhook.EndpointFailingType: 1}, counts)
	})
}

func TestOperationalTypesAreChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Operational: &webhook.Operational{Tenant: operator, Types: []string{webhook.EndpointDisabledType}}, Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: opsURL, EventTypes: []string{"webhook.endpoint.*"}})
		sick := b.endpoint(webhook.Endpoint{URL: sickURL})
		b.client.On("https://sick.example/").Script(500)
		b.send(webhook.Event{})
		time.Sleep(time.Minute)
		require.NoError(t, b.DisableEndpoint(t.Context(), sick.ID, "did not pay"))
		time.Sleep(time.Minute)
		all := toldOps(t, b.client)
		require.Len(t, all, 1)
		require.Equal(t, "did not pay", all[0].Data.Reason)
	})
}

// What a process did not live to tell, or a second one would tell too, is told once.
func TestOperationalEventsOfSeveralProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule()}) // does not tell
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: opsURL, EventTypes: []string{"webhook.*"}})
		b.endpoint(webhook.Endpoint{URL: sickURL})
		b.client.On("https://sick.example/").Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		for range 12 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Minute)
		b.stop()
		require.Empty(t, toldOps(t, b.client))
		for range 2 {
			next, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client, Logger: quiet(), Operational: &webhook.Operational{Tenant: operator}})
			require.NoError(t, err)
			require.NoError(t, next.RunOnce(t.Context()))
			require.NoError(t, next.RunOnce(t.Context()))
		}
		all := toldOps(t, b.client)
		require.Len(t, all, 1)
		require.Equal(t, webhook.EndpointFailingType, all[0].Type)
	})
}

func TestRunOnceDeliversWhatItHasToTell(t *testing.T) {
	for range 200 { // whether it is stored before or after RunOnce looks for the last time is chance
		synctest.Test(t, func(t *testing.T) {
			b := prepare(t, webhook.Config{Operational: &webhook.Operational{Tenant: operator}, Retry: webhook.Schedule()})
			b.endpoint(webhook.Endpoint{TenantID: "operator", URL: opsURL, EventTypes: []string{"webhook.*"}})
			b.endpoint(webhook.Endpoint{URL: sickURL})
			b.client.On("https://sick.example/").Script(500)
			b.send(webhook.Event{})
			require.NoError(t, b.RunOnce(t.Context()))
			require.Len(t, toldOps(t, b.client), 1)
		})
	}
}

// While the store fails the events wait; a tenant that cannot be is reported and dropped.
func TestOperationalEventsWaitForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := "operator"
		b := prepare(t, webhook.Config{Operational: &webhook.Operational{Tenant: func(string) string { return tenant }}, Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{TenantID: "operator", URL: opsURL, EventTypes: []string{"webhook.*"}})
		sick := b.endpoint(webhook.Endpoint{URL: sickURL})
		tenant = string([]byte{0xff})
		require.NoError(t, b.DisableEndpoint(t.Context(), sick.ID))
		tenant = "operator"
		require.NoError(t, b.EnableEndpoint(t.Context(), sick.ID))
		require.NoError(t, b.DisableEndpoint(t.Context(), sick.ID))
		require.NoError(t, b.RunOnce(t.Context()))
		require.Len(t, toldOps(t, b.client), 1)
	})
}

// catalogOf takes one type.
type catalogOf string

func (c catalogOf) Check(ev webhook.Event) error {
	if ev.Type != string(c) || !json.Valid(ev.Payload) {
		return http.ErrNotSupported
	}
	return nil
}

func TestCatalogIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Catalog: catalogOf("order.created"), Operational: &webhook.Operational{}})
		e := b.endpoint(webhook.Endpoint{})
		b.send(webhook.Event{})
		_, err := b.SendBatch(t.Context(), []webhook.Event{{Type: "order.created", Payload: []byte("{}")}, {Type: "order.paid", Payload: []byte("{}")}})
		require.ErrorIs(t, err, webhook.ErrInvalid)
		require.ErrorContains(t, err, "events[1]")
		_, err = b.PingEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.NoError(t, b.DisableEndpoint(t.Context(), e.ID))
	})
}
