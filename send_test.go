package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestAnEventGoesToEveryMatchingEndpointOfItsTenant(t *testing.T) {
	type ep struct {
		types []string
		match map[string]string
	}
	endpoints := map[string]ep{
		"all":       {nil, nil},
		"star":      {[]string{"*"}, nil},
		"exact":     {[]string{"order.created"}, nil},
		"prefix":    {[]string{"order.*"}, nil},
		"twice":     {[]string{"order.*", "order.created", "*"}, nil},
		"deep":      {[]string{"order.created.eu.*"}, nil},
		"other":     {[]string{"invoice.*", "order.deleted"}, nil},
		"nodot":     {[]string{"orde.*"}, nil},
		"attribute": {nil, map[string]string{"region": "eu"}},
		"both":      {[]string{"order.*"}, map[string]string{"region": "eu", "plan": "pro"}},
	}
	for _, c := range []struct {
		event webhook.Event
		want  string
	}{
		{webhook.Event{Type: "order.created"}, "all star exact prefix twice"},
		{webhook.Event{Type: "order"}, "all star twice"},
		{webhook.Event{Type: "order.created.eu.west"}, "all star prefix twice deep"},
		{webhook.Event{Type: "order.deleted"}, "all star prefix twice other"},
		{webhook.Event{Type: "user.created", Attributes: map[string]string{"region": "eu"}}, "all star twice attribute"},
		{webhook.Event{Type: "order.created", Attributes: map[string]string{"region": "eu", "plan": "pro"}}, "all star exact prefix twice attribute both"},
		{webhook.Event{Type: "order.created", Attributes: map[string]string{"region": "us"}}, "all star exact prefix twice"},
	} {
		t.Run(c.event.Type, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, webhook.Config{})
				ids := map[string]string{}
				for name, e := range endpoints {
					made := b.endpoint(webhook.Endpoint{TenantID: "a", EventTypes: e.types, Match: e.match})
					ids[made.ID] = name
					b.endpoint(webhook.Endpoint{TenantID: "b", EventTypes: e.types, Match: e.match})
				}
				c.event.TenantID = "a"
				r := b.send(c.event)
				require.NoError(t, b.Idle(t.Context()))
				var got []string
				for _, id := range r.DeliveryIDs {
					d := b.delivery(id)
					require.Equal(t, webhook.StateSucceeded, d.State)
					got = append(got, ids[d.EndpointID])
				}
				require.ElementsMatch(t, strings.Fields(c.want), got)

				explained, err := b.Explain(t.Context(), c.event)
				require.NoError(t, err)
				require.Len(t, explained, len(endpoints))
				for _, e := range explained {
					require.Equal(t, slices.Contains(got, ids[e.EndpointID]), e.Matches, "%s: %s", ids[e.EndpointID], e.Reason)
					require.Equal(t, e.Matches, e.Reason == "")
				}
			})
		})
	}
}

func TestEndpointIDsAddressEndpointsDirectly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		one := b.endpoint(webhook.Endpoint{EventTypes: []string{"nothing.of.this"}})
		b.endpoint(webhook.Endpoint{})
		foreign := b.endpoint(webhook.Endpoint{TenantID: "other"})
		r := b.send(webhook.Event{EndpointIDs: []string{one.ID, one.ID}})
		require.Len(t, r.DeliveryIDs, 1)
		require.Equal(t, one.ID, b.delivery(r.DeliveryIDs[0]).EndpointID)
		for _, id := range []string{foreign.ID, "we_nonsense"} {
			_, err := b.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("{}"), EndpointIDs: []string{id}})
			require.ErrorIs(t, err, webhook.ErrInvalid)
			require.ErrorContains(t, err, "Event.EndpointIDs")
		}
	})
}

func TestAnEventWithoutAMatchIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		r := b.send(webhook.Event{Payload: []byte("hello"), ContentType: "text/plain"})
		require.Empty(t, r.DeliveryIDs)
		e, err := b.GetEvent(t.Context(), r.EventID)
		require.NoError(t, err)
		require.Equal(t, "hello", string(e.Payload))
		require.Equal(t, "text/plain", e.ContentType)
	})
}

func TestTheGenerationRuleAcrossDispatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		require.Len(t, b.send(webhook.Event{}).DeliveryIDs, 1)
		other, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client})
		require.NoError(t, err)
		for n := range 5 {
			made, err := other.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://other.example/"})
			require.NoError(t, err)
			require.Len(t, b.send(webhook.Event{}).DeliveryIDs, n+2)
			if n == 4 {
				require.NoError(t, other.DeleteEndpoint(t.Context(), made.ID))
				require.Len(t, b.send(webhook.Event{}).DeliveryIDs, n+1)
			}
		}
		require.NoError(t, b.Idle(t.Context()))
	})
}

func TestIdempotencyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		b.endpoint(webhook.Endpoint{TenantID: "b"})
		e := webhook.Event{Type: "a.b", Payload: []byte("1"), IdempotencyKey: "k"}
		first := b.send(e)
		require.False(t, first.Duplicate)
		again := b.send(e)
		require.Equal(t, webhook.Receipt{EventID: first.EventID, DeliveryIDs: first.DeliveryIDs, Duplicate: true}, again)
		other := e
		other.TenantID = "b"
		require.False(t, b.send(other).Duplicate, "keys belong to a tenant")
		for _, wrong := range []webhook.Event{
			{Type: "a.c", Payload: []byte("1"), IdempotencyKey: "k"},
			{Type: "a.b", Payload: []byte("2"), IdempotencyKey: "k"},
		} {
			_, err := b.Send(t.Context(), wrong)
			require.ErrorIs(t, err, webhook.ErrConflict)
		}
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 2, b.client.Count())
	})
}

// What was stored stays stored: its repetition needs no endpoint that is gone since.
func TestARepetitionNamesADeletedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		e := webhook.Event{Type: "a.b", Payload: []byte("1"), IdempotencyKey: "k", EndpointIDs: []string{b.endpoint(webhook.Endpoint{}).ID}}
		first := b.send(e)
		require.NoError(t, b.DeleteEndpoint(t.Context(), e.EndpointIDs[0]))
		again := b.send(e)
		require.Equal(t, webhook.Receipt{EventID: first.EventID, DeliveryIDs: first.DeliveryIDs, Duplicate: true}, again)

		other := e
		other.Payload = []byte("2")
		_, err := b.Send(t.Context(), other)
		require.ErrorIs(t, err, webhook.ErrConflict)
		other.IdempotencyKey = "l"
		_, err = b.SendBatch(t.Context(), []webhook.Event{e, other})
		require.ErrorIs(t, err, webhook.ErrInvalid, "it is new")
		require.ErrorContains(t, err, "Event.EndpointIDs")
		events, err := b.ListEvents(t.Context(), webhook.EventQuery{})
		require.NoError(t, err)
		require.Len(t, events, 1)
	})
}

func TestConcurrentSendsOfOneKeyStoreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			fresh int
			ids   = map[string]bool{}
		)
		for range 50 {
			wg.Go(func() {
				r := b.send(webhook.Event{IdempotencyKey: "same"})
				mu.Lock()
				defer mu.Unlock()
				ids[r.EventID] = true
				if !r.Duplicate {
					fresh++
				}
			})
		}
		wg.Wait()
		require.Equal(t, 1, fresh)
		require.Len(t, ids, 1)
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 1, b.client.Count())
	})
}

func TestABatchIsStoredWholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{})
		events := make([]webhook.Event, 1000)
		for i := range events {
			events[i] = webhook.Event{Type: "a.b", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}
		}
		receipts, err := b.SendBatch(t.Context(), events)
		require.NoError(t, err)
		require.Len(t, receipts, 1000)
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 1000, b.client.Count())

		b.send(webhook.Event{Type: "a.b", IdempotencyKey: "k", Payload: []byte("1")})
		require.NoError(t, b.Idle(t.Context()))
		events[998].IdempotencyKey, events[998].Payload = "k", []byte("another")
		_, err = b.SendBatch(t.Context(), events)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "998")
		events[998].IdempotencyKey = ""
		events[999].Type = "not a type"
		_, err = b.SendBatch(t.Context(), events)
		require.ErrorIs(t, err, webhook.ErrInvalid)
		require.ErrorContains(t, err, "events[999].Type")
		_, err = b.SendBatch(t.Context(), make([]webhook.Event, 1001))
		require.ErrorIs(t, err, webhook.ErrInvalid)
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 1001, b.client.Count())
		stats, err := b.Stats(t.Context(), webhook.StatsQuery{})
		require.NoError(t, err)
		require.EqualValues(t, 1001, stats.Succeeded)
		require.Zero(t, stats.Pending)
	})
}

func TestABatchOfTooManyDeliveriesIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{})
		for range 11 {
			b.endpoint(webhook.Endpoint{})
		}
		events := make([]webhook.Event, 1000)
		for i := range events {
			events[i] = webhook.Event{Type: "a.b", Payload: []byte("{}")}
		}
		_, err := b.SendBatch(t.Context(), events)
		require.ErrorIs(t, err, webhook.ErrInvalid)
		list, err := b.ListEvents(t.Context(), webhook.EventQuery{})
		require.NoError(t, err)
		require.Empty(t, list)
	})
}

func TestWhatSendRefusesIsNotStored(t *testing.T) {
	now := time.Now()
	good := webhook.Event{Type: "order.created", Payload: []byte("{}")}
	for name, c := range map[string]struct {
		change func(*webhook.Event)
		field  string
	}{
		"no type":             {func(e *webhook.Event) { e.Type = "" }, "Event.Type"},
		"long type":           {func(e *webhook.Event) { e.Type = strings.Repeat("a", 129) }, "Event.Type"},
		"space in type":       {func(e *webhook.Event) { e.Type = "order created" }, "Event.Type"},
		"empty part":          {func(e *webhook.Event) { e.Type = "order..created" }, "Event.Type"},
		"star":                {func(e *webhook.Event) { e.Type = "order.*" }, "Event.Type"},
		"nil payload":         {func(e *webhook.Event) { e.Payload = nil }, "Event.Payload"},
		"payload over limit":  {func(e *webhook.Event) { e.Payload = make([]byte, 256<<10+1) }, "Event.Payload"},
		"an ID":               {func(e *webhook.Event) { e.ID = "evt_x" }, "Event.ID"},
		"CR in content type":  {func(e *webhook.Event) { e.ContentType = "a/b\r\nX: y" }, "Event.ContentType"},
		"NUL in tenant":       {func(e *webhook.Event) { e.TenantID = "a\x00b" }, "Event.TenantID"},
		"long tenant":         {func(e *webhook.Event) { e.TenantID = strings.Repeat("t", 256) }, "Event.TenantID"},
		"broken key":          {func(e *webhook.Event) { e.IdempotencyKey = "\xff" }, "Event.IdempotencyKey"},
		"33 attributes":       {func(e *webhook.Event) { e.Attributes = many(33) }, "Event.Attributes"},
		"no attribute key":    {func(e *webhook.Event) { e.Attributes = map[string]string{"": "x"} }, "Event.Attributes"},
		"NUL in attribute":    {func(e *webhook.Event) { e.Attributes = map[string]string{"a": "\x00"} }, "Event.Attributes[a]"},
		"long attribute":      {func(e *webhook.Event) { e.Attributes = map[string]string{"a": strings.Repeat("x", 513)} }, "Event.Attributes[a]"},
		"CRLF in header":      {func(e *webhook.Event) { e.Headers = map[string]string{"X-A": "b\r\nX-C: d"} }, "Event.Headers[X-A]"},
		"signed header":       {func(e *webhook.Event) { e.Headers = map[string]string{"Webhook-Signature": "v1,x"} }, "Event.Headers[Webhook-Signature]"},
		"framing header":      {func(e *webhook.Event) { e.Headers = map[string]string{"content-length": "1"} }, "Event.Headers[content-length]"},
		"header name":         {func(e *webhook.Event) { e.Headers = map[string]string{"X A": "b"} }, "Event.Headers"},
		"far DeliverAt":       {func(e *webhook.Event) { e.DeliverAt = now.AddDate(3, 0, 0) }, "Event.DeliverAt"},
		"ExpiresAt past":      {func(e *webhook.Event) { e.ExpiresAt = now.AddDate(-30, 0, 0) }, "Event.ExpiresAt"},
		"1,001 endpoints":     {func(e *webhook.Event) { e.EndpointIDs = make([]string, 1001) }, "Event.EndpointIDs"},
		"TraceContext breaks": {func(e *webhook.Event) { e.TraceContext = "00-\n" }, "Event.TraceContext"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := prepare(t, webhook.Config{})
				b.endpoint(webhook.Endpoint{})
				e := good
				c.change(&e)
				_, err := b.Send(t.Context(), e)
				require.ErrorIs(t, err, webhook.ErrInvalid)
				var field *webhook.FieldError
				require.ErrorAs(t, err, &field)
				require.Equal(t, c.field, field.Field)
				require.Equal(t, name == "payload over limit", errors.Is(err, webhook.ErrPayloadTooLarge))
				list, err := b.ListEvents(t.Context(), webhook.EventQuery{AllTenants: true})
				require.NoError(t, err)
				require.Empty(t, list)
			})
		})
	}
}

func many(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint(i)] = "x"
	}
	return m
}

func TestSendKeepsNothingOfTheCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.client.Script(500)
		b.endpoint(webhook.Endpoint{})
		payload, attributes := []byte("before"), map[string]string{"a": "before"}
		r := b.send(webhook.Event{Payload: payload, Attributes: attributes})
		copy(payload, "after!")
		attributes["a"] = "after"
		for _, request := range b.client.Wait(t, 2) {
			require.Equal(t, "before", string(request.Body))
		}
		d := b.delivery(r.DeliveryIDs[0])
		require.Equal(t, "before", string(d.Event.Payload))
		require.Equal(t, "before", d.Attributes["a"])
	})
}

func TestDeliverAtAndExpiresAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Hour, time.Hour)})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		b.endpoint(webhook.Endpoint{})
		began := time.Now()
		r := b.send(webhook.Event{DeliverAt: began.Add(3 * time.Hour), ExpiresAt: began.Add(270 * time.Minute)})
		d := b.delivery(r.DeliveryIDs[0])
		require.Equal(t, webhook.StateScheduled, d.State)
		require.Nil(t, d.NextRetryAt)
		require.WithinDuration(t, began.Add(3*time.Hour), *d.DueAt, time.Millisecond)
		first := b.client.Next(t)
		require.WithinDuration(t, began.Add(3*time.Hour), first.At, 10*time.Millisecond)
		time.Sleep(24 * time.Hour)
		d = b.delivery(r.DeliveryIDs[0])
		require.Equal(t, webhook.StateExpired, d.State)
		require.Equal(t, webhook.CodeCancelledPastRetention, d.FailureCode)
		require.Len(t, d.Attempts, 2)
	})
}

// One Send does not wait for another's commit where the store takes two, and those that come then share the next.
func TestSendsShareTheCommitsThatAStoreTakes(t *testing.T) {
	for commits, ends := range map[int][]time.Duration{
		1: {10 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond},
		2: {10 * time.Millisecond, 11 * time.Millisecond, 20 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := &parallelStore{Store: memory.New(), commits: commits}
			d, err := webhook.New(store, webhook.Config{Logger: quiet()})
			require.NoError(t, err)
			_, err = d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example"})
			require.NoError(t, err)
			store.delay = 10 * time.Millisecond
			took := make([]time.Duration, len(ends))
			began := time.Now()
			var sends sync.WaitGroup
			for i := range ends {
				sends.Go(func() {
					time.Sleep(time.Duration(i) * time.Millisecond)
					if _, err := d.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("{}")}); err != nil {
						t.Errorf("%v", err)
					}
					took[i] = time.Since(began)
				})
			}
			sends.Wait()
			require.Equal(t, ends, took, "%d at a time", commits)
			stats, err := d.Stats(t.Context(), webhook.StatsQuery{AllTenants: true})
			require.NoError(t, err)
			require.EqualValues(t, 3, stats.Pending)
		})
	}
}

// brokenStore fails commits while it is told to.
type brokenStore struct {
	parallelStore
	mu  sync.Mutex
	err error
}

func (s *brokenStore) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *brokenStore) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err != nil {
		return webhook.Result{}, err
	}
	return s.parallelStore.Commit(ctx, b)
}

func TestAStoreThatFailsIsSurvived(t *testing.T) {
	t.Run("one commit at a time", func(t *testing.T) { storeFails(t, 1) })
	t.Run("two", func(t *testing.T) { storeFails(t, 2) })
}

func storeFails(t *testing.T, commits int) {
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{parallelStore: parallelStore{Store: memory.New(), commits: commits}}
		client := &webhooktest.Client{}
		d, err := webhook.New(store, webhook.Config{HTTPClient: client, Logger: quiet()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		_, err = d.CreateEndpoint(ctx, webhook.Endpoint{URL: "https://a.example"})
		require.NoError(t, err)
		client.Answer(webhooktest.Answer{Delay: time.Second})
		r, err := d.Send(ctx, webhook.Event{Type: "a", Payload: []byte("{}")})
		require.NoError(t, err)
		require.NoError(t, d.Health(ctx))

		full := errors.New("disk full")
		store.set(full)
		_, err = d.Send(ctx, webhook.Event{Type: "a", Payload: []byte("{}")})
		require.ErrorIs(t, err, full)
		time.Sleep(5 * time.Second)
		require.ErrorIs(t, d.Health(ctx), full)
		delivery, err := d.GetDelivery(ctx, r.DeliveryIDs[0])
		require.NoError(t, err)
		require.Equal(t, webhook.StateSending, delivery.State, "its result waits in memory")

		store.set(nil)
		time.Sleep(5 * time.Second)
		require.NoError(t, d.Health(ctx))
		delivery, err = d.GetDelivery(ctx, r.DeliveryIDs[0])
		require.NoError(t, err)
		require.Equal(t, webhook.StateSucceeded, delivery.State)
		require.Equal(t, 1, client.Count())
		cancel()
		require.NoError(t, <-ended)
	})
}
