// Package upgrade_test holds every version to the promise that it opens what v0.1.0 stored.
package upgrade_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/storetest"
	"github.com/outhook/webhook/webhooktest"
)

// Written once for each release whose tables differ, and never again: an upgrade that fails is to be
// mended in the code.
var update = flag.Bool("update", false, "write testdata anew with the present code")

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// records is all that the public API tells of a store.
type records struct {
	Endpoints   []webhook.Endpoint
	Secrets     map[string]string // of an endpoint; its JSON masks them
	Events      []webhook.Event
	Deliveries  []webhook.Delivery
	Attempts    []webhook.DeliveryAttempt
	BulkRetries []webhook.BulkRetry
}

func read(t *testing.T, d *webhook.Dispatcher) (r records) {
	ctx := t.Context()
	var err error
	r.Endpoints, err = d.ListEndpoints(ctx, webhook.EndpointQuery{AllTenants: true, Limit: 100})
	require.NoError(t, err)
	r.Secrets = map[string]string{}
	for _, e := range r.Endpoints {
		if e.State != webhook.EndpointDeleted {
			r.Secrets[e.ID] = e.Secrets[0].Value
		}
	}
	events, err := d.ListEvents(ctx, webhook.EventQuery{AllTenants: true, Limit: 100})
	require.NoError(t, err)
	for _, e := range events {
		e, err := d.GetEvent(ctx, e.ID)
		require.NoError(t, err)
		r.Events = append(r.Events, e)
	}
	for item, err := range d.Deliveries(ctx, webhook.DeliveryQuery{AllTenants: true}) {
		require.NoError(t, err)
		delivery, err := d.GetDelivery(ctx, item.ID)
		require.NoError(t, err)
		// What comes by the clock alone is not the store's.
		if delivery.Status == webhook.StatusPending && delivery.HoldReason == "" {
			delivery.State = ""
		}
		r.Deliveries = append(r.Deliveries, delivery)
	}
	r.Attempts, err = d.ListAttempts(ctx, webhook.AttemptQuery{AllTenants: true, Limit: 100})
	require.NoError(t, err)
	r.BulkRetries, err = d.ListBulkRetries(ctx, webhook.BulkRetryQuery{AllTenants: true})
	require.NoError(t, err)
	return r
}

// policy is the program's, not the store's.
var policy = webhook.Schedule(time.Millisecond)

// fill brings about one delivery in every state, through the public API.
func fill(t *testing.T, st webhook.Store) records {
	ctx := t.Context()
	client := &webhooktest.Client{Timeout: 10 * time.Second}
	client.On("https://fails.example/").Respond(func(webhooktest.Request) webhooktest.Answer {
		return webhooktest.Answer{Status: 503, Header: map[string][]string{"X-Reason": {"full"}}, Body: "come back later"}
	})
	client.On("https://gone.example/").Script(410)
	d, err := webhook.New(st, webhook.Config{HTTPClient: client, Retry: policy, PollInterval: time.Millisecond})
	require.NoError(t, err)
	endpoint := func(e webhook.Endpoint) string {
		e.TenantID = "acme"
		made, err := d.CreateEndpoint(ctx, e)
		require.NoError(t, err)
		return made.ID
	}
	good := endpoint(webhook.Endpoint{
		URL: "https://good.example/hook", Description: "the till", EventTypes: []string{"order.*"}, Match: map[string]string{"region": "eu"},
		Headers: map[string]string{"X-Shop": "7"}, RateLimit: 100, MaxInFlight: 3, Metadata: map[string]string{"plan": "gold"},
	})
	fails := endpoint(webhook.Endpoint{URL: "https://fails.example/", Ordered: true})
	waits := endpoint(webhook.Endpoint{URL: "https://fails.example/later", Retry: []time.Duration{240 * time.Hour}})
	gone := endpoint(webhook.Endpoint{URL: "https://gone.example/"})
	paused := endpoint(webhook.Endpoint{URL: "https://paused.example/"})
	deleted := endpoint(webhook.Endpoint{URL: "https://deleted.example/"})
	later := endpoint(webhook.Endpoint{URL: "https://later.example/"})
	queued := endpoint(webhook.Endpoint{URL: "https://queued.example/"})
	_, err = d.RotateSecret(ctx, paused, 300*24*time.Hour)
	require.NoError(t, err)
	require.NoError(t, d.PauseEndpoint(ctx, paused))
	send := func(key string, e webhook.Event, to ...string) webhook.Receipt {
		e.TenantID, e.Type, e.Payload, e.IdempotencyKey, e.EndpointIDs = "acme", "order.created", []byte(`{"order": "`+key+`"}`), key, to
		receipt, err := d.Send(ctx, e)
		require.NoError(t, err)
		return receipt
	}
	send("all", webhook.Event{Attributes: map[string]string{"region": "eu"}, Headers: map[string]string{"X-Trace": "1"}}, good, fails, waits, gone, paused, deleted)
	send("erased", webhook.Event{}, paused)
	require.NoError(t, d.Cancel(ctx, send("canceled", webhook.Event{}, paused).DeliveryIDs[0]))
	send("expired", webhook.Event{ExpiresAt: time.Now().Add(5 * time.Millisecond)}, paused)
	// By now it is too late for it: nobody looked in between.
	require.NoError(t, d.RunOnce(ctx))
	require.NoError(t, d.DeleteEndpoint(ctx, deleted))
	events, err := d.ListEvents(ctx, webhook.EventQuery{TenantID: "acme"})
	require.NoError(t, err)
	for _, e := range events {
		if e.IdempotencyKey == "erased" {
			require.NoError(t, d.EraseEvent(ctx, e.ID))
		}
	}
	done, err := d.BulkRetry(ctx, webhook.DeliveryQuery{TenantID: "acme", EndpointID: fails}, webhook.BulkRetryOptions{})
	require.NoError(t, err)
	drain(t, d, func() bool {
		b, err := d.GetBulkRetry(ctx, done.ID)
		require.NoError(t, err)
		page, err := d.ListDeliveries(ctx, webhook.DeliveryQuery{TenantID: "acme", EndpointID: fails, Status: webhook.StatusFailed})
		require.NoError(t, err)
		return b.State == webhook.BulkRetryDone && len(page) == 1
	})
	_, err = d.BulkRetry(ctx, webhook.DeliveryQuery{TenantID: "acme", EndpointID: fails}, webhook.BulkRetryOptions{Rate: 1})
	require.NoError(t, err)
	send("later", webhook.Event{DeliverAt: time.Now().Add(300 * 24 * time.Hour)}, later)
	send("sending", webhook.Event{}, queued)
	// A process that is killed in the middle of an attempt.
	claimed, err := st.Claim(ctx, webhook.ClaimRequest{
		Now: time.Now(), LeaseUntil: time.Now().Add(time.Second), Limit: 1, PerEndpoint: 1, Owner: "killed",
	})
	require.NoError(t, err)
	require.Len(t, claimed.Claims, 1)
	send("queued", webhook.Event{}, queued)
	storetest.CheckInvariants(t, st)
	return read(t, d)
}

// drain runs d until it is so.
func drain(t *testing.T, d *webhook.Dispatcher, so func() bool) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	require.Eventually(t, so, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
}

// holds is the promise: nothing is changed by the upgrade, and everything goes on.
func holds(t *testing.T, st webhook.Store, want []byte) {
	ctx := t.Context()
	client := &webhooktest.Client{Timeout: 10 * time.Second}
	d, err := webhook.New(st, webhook.Config{
		HTTPClient: client, Retry: policy, Retention: -1, DetailRetention: -1, PollInterval: time.Millisecond,
	})
	require.NoError(t, err)
	before := read(t, d)
	require.JSONEq(t, string(want), string(encode(t, before)))
	storetest.CheckInvariants(t, st)
	for _, secret := range before.Secrets {
		client.Secrets = append(client.Secrets, secret)
	}

	count := func(q webhook.DeliveryQuery) int {
		q.TenantID, q.Limit = "acme", 500
		page, err := d.ListDeliveries(ctx, q)
		require.NoError(t, err)
		return len(page)
	}
	states := map[webhook.DeliveryState]int{}
	for _, delivery := range before.Deliveries {
		states[delivery.State]++
		if delivery.State == webhook.StateExhausted {
			require.NoError(t, d.Retry(ctx, delivery.ID))
		}
	}
	for _, state := range []webhook.DeliveryState{webhook.StateSucceeded, webhook.StateExhausted, webhook.StateGone, webhook.StateCanceled, webhook.StateExpired, webhook.StateHeld} {
		require.NotZero(t, states[state], "%s: %v", state, states)
	}
	require.GreaterOrEqual(t, states[""], 4, "scheduled, sending, queued and a retry")

	// The same key gets the same answer as then.
	for _, e := range before.Events {
		if e.IdempotencyKey == "canceled" {
			again, err := d.Send(ctx, webhook.Event{
				TenantID: e.TenantID, Type: e.Type, Payload: e.Payload, IdempotencyKey: e.IdempotencyKey, Attributes: e.Attributes,
				Headers: e.Headers, EndpointIDs: e.EndpointIDs,
			})
			require.NoError(t, err)
			require.True(t, again.Duplicate)
			require.Equal(t, e.ID, again.EventID)
		}
	}
	for _, e := range before.Endpoints {
		if e.State == webhook.EndpointPaused {
			require.NoError(t, d.UnpauseEndpoint(ctx, e.ID))
		}
	}
	for _, delivery := range before.Deliveries {
		if delivery.State == "" && delivery.DueAt != nil && delivery.DueAt.After(time.Now()) {
			require.NoError(t, d.Retry(ctx, delivery.ID))
		}
	}
	drain(t, d, func() bool {
		bulk, err := d.ListBulkRetries(ctx, webhook.BulkRetryQuery{TenantID: "acme"})
		require.NoError(t, err)
		return count(webhook.DeliveryQuery{Status: webhook.StatusPending}) == 0 && bulk[0].State == webhook.BulkRetryDone
	})
	for _, request := range client.Requests() {
		require.NoError(t, request.Err, "its secret signs as before")
	}
	require.NotZero(t, count(webhook.DeliveryQuery{Status: webhook.StatusSuccess}))
	require.Zero(t, count(webhook.DeliveryQuery{States: []webhook.DeliveryState{webhook.StateExhausted}}))
	interrupted, err := d.ListAttempts(ctx, webhook.AttemptQuery{TenantID: "acme", Status: webhook.AttemptInterrupted})
	require.NoError(t, err)
	require.Len(t, interrupted, 1, "what the killed process had claimed")
	storetest.CheckInvariants(t, st)

	forgetful, err := webhook.New(st, webhook.Config{HTTPClient: client, Retention: time.Millisecond, DetailRetention: time.Millisecond})
	require.NoError(t, err)
	drain(t, forgetful, func() bool { return count(webhook.DeliveryQuery{}) == 0 })
	storetest.CheckInvariants(t, st)
}

func encode(t *testing.T, r records) []byte {
	text, err := json.MarshalIndent(r, "", " ")
	require.NoError(t, err)
	return append(text, '\n')
}

func testdata(t *testing.T, name string) []byte {
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return text
}

func keep(t *testing.T, name string, text []byte) {
	require.NoError(t, os.WriteFile(filepath.Join("testdata", name), text, 0o644))
}

// vacuum leaves a file as small as it can be.
func vacuum(t *testing.T, db *sql.DB) {
	_, err := db.Exec("VACUUM")
	require.NoError(t, err)
}
