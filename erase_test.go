package webhook_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func TestEraseEventTakesThePayloadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Hour)})
		ctx := t.Context()
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Body: "personal"}, webhooktest.Answer{Status: 500, Body: "personal"})
		done := b.send(webhook.Event{IdempotencyKey: "k"})
		require.NoError(t, b.Idle(ctx))
		waiting := b.send(webhook.Event{})
		require.NoError(t, b.Idle(ctx))
		require.Equal(t, "personal", *b.delivery(done.DeliveryIDs[0]).Attempts[0].ResponseBodyPreview)

		for _, r := range []webhook.Receipt{done, waiting} {
			require.NoError(t, b.EraseEvent(ctx, r.EventID))
			require.NoError(t, b.EraseEvent(ctx, r.EventID), "repeated")
			d := b.delivery(r.DeliveryIDs[0])
			require.Nil(t, d.Event.Payload)
			require.Equal(t, time.Now().UTC(), d.Event.ErasedAt.UTC())
			require.Nil(t, d.Attempts[0].ResponseBodyPreview)
			require.Nil(t, d.Attempts[0].RequestHeaders)
			require.Equal(t, time.Now().UTC(), d.Attempts[0].DetailPrunedAt.UTC())
		}
		require.Equal(t, webhook.StateSucceeded, b.delivery(done.DeliveryIDs[0]).State)
		ended := b.delivery(waiting.DeliveryIDs[0])
		require.Equal(t, webhook.StateCanceled, ended.State)
		require.Equal(t, webhook.CodeDataArchived, ended.FailureCode)
		err := b.Retry(ctx, done.DeliveryIDs[0])
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "erased")
		require.True(t, b.send(webhook.Event{IdempotencyKey: "k"}).Duplicate, "the key stays")
		time.Sleep(2 * time.Hour)
		require.Equal(t, 2, b.client.Count())
		require.ErrorIs(t, b.EraseEvent(ctx, "evt_none"), webhook.ErrNotFound)
	})
}

func TestWhatWasErasedIsNotSentFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 1})
		ctx := t.Context()
		b.endpoint(webhook.Endpoint{})
		b.endpoint(webhook.Endpoint{TenantID: "acme", URL: "https://acme.example/"})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Delay: 3 * time.Second} })
		under := b.send(webhook.Event{Payload: []byte("under way")})
		synctest.Wait()
		inMemory := b.send(webhook.Event{Payload: []byte("in memory")})
		ofTenant := b.send(webhook.Event{TenantID: "acme", Payload: []byte("of the tenant")})
		kept := b.send(webhook.Event{Payload: []byte("kept")})
		stats, err := b.Stats(ctx, webhook.StatsQuery{AllTenants: true})
		require.NoError(t, err)
		require.Equal(t, []int{1, 3}, []int{stats.InFlight, stats.Waiting})

		require.NoError(t, b.EraseEvent(ctx, under.EventID))
		require.NoError(t, b.EraseEvent(ctx, inMemory.EventID))
		require.NoError(t, b.EraseTenant(ctx, "acme"))
		stats, err = b.Stats(ctx, webhook.StatsQuery{AllTenants: true})
		require.NoError(t, err)
		require.Equal(t, []int{1, 1}, []int{stats.InFlight, stats.Waiting})
		time.Sleep(time.Minute)
		var bodies []string
		for _, r := range b.client.Requests() {
			bodies = append(bodies, string(r.Body))
		}
		require.Equal(t, []string{"under way", "kept"}, bodies)
		d := b.delivery(under.DeliveryIDs[0])
		require.Equal(t, webhook.StateSucceeded, d.State, "a request under way finishes, and a success wins")
		require.Nil(t, d.Attempts[0].RequestHeaders)
		require.Equal(t, webhook.CodeDataArchived, b.delivery(inMemory.DeliveryIDs[0]).FailureCode)
		require.Equal(t, webhook.StateSucceeded, b.delivery(kept.DeliveryIDs[0]).State)
		_, err = b.GetDelivery(ctx, ofTenant.DeliveryIDs[0])
		require.ErrorIs(t, err, webhook.ErrNotFound)
	})
}

func TestAClaimFromBeforeAnErasureIsNotSentAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		ctx := t.Context()
		b.endpoint(webhook.Endpoint{})
		r := b.send(webhook.Event{})
		slow := &slowClaims{Store: b.store, delay: time.Second}
		d, err := webhook.New(slow, webhook.Config{HTTPClient: b.client})
		require.NoError(t, err)
		b.Dispatcher = d
		b.run()
		time.Sleep(500 * time.Millisecond) // the claim is made, its answer on the way
		require.NoError(t, d.EraseEvent(ctx, r.EventID))
		time.Sleep(time.Hour)
		require.Zero(t, b.client.Count())
		require.Equal(t, webhook.StateCanceled, b.delivery(r.DeliveryIDs[0]).State)
	})
}

func TestEraseTenantLeavesNothingBehindAndTheIDFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		ctx := t.Context()
		e := b.endpoint(webhook.Endpoint{TenantID: "acme"})
		other := b.endpoint(webhook.Endpoint{})
		var events []webhook.Event
		for range 700 { // more than one step
			events = append(events, webhook.Event{TenantID: "acme", Type: "a", Payload: []byte("{}")})
		}
		_, err := b.SendBatch(ctx, events)
		require.NoError(t, err)
		b.send(webhook.Event{})
		require.NoError(t, b.Idle(ctx))
		require.NoError(t, b.EraseTenant(ctx, "acme"))
		require.NoError(t, b.EraseTenant(ctx, "acme"), "repeated")
		for _, list := range []func() (int, error){
			func() (int, error) {
				l, err := b.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: "acme"})
				return len(l), err
			},
			func() (int, error) {
				l, err := b.ListEvents(ctx, webhook.EventQuery{TenantID: "acme"})
				return len(l), err
			},
			func() (int, error) {
				l, err := b.ListDeliveries(ctx, webhook.DeliveryQuery{TenantID: "acme"})
				return len(l), err
			},
			func() (int, error) {
				l, err := b.ListAttempts(ctx, webhook.AttemptQuery{TenantID: "acme"})
				return len(l), err
			},
		} {
			n, err := list()
			require.NoError(t, err)
			require.Zero(t, n)
		}
		_, err = b.GetEndpoint(ctx, e.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		_, err = b.GetEndpoint(ctx, other.ID)
		require.NoError(t, err)

		time.Sleep(time.Millisecond)
		b.endpoint(webhook.Endpoint{TenantID: "acme"})
		r := b.send(webhook.Event{TenantID: "acme"})
		require.NoError(t, b.Idle(ctx))
		require.Len(t, r.DeliveryIDs, 1)
		require.Equal(t, webhook.StateSucceeded, b.delivery(r.DeliveryIDs[0]).State)
	})
}
