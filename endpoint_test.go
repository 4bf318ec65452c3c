package webhook_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func TestAnEndpointsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		ctx := t.Context()
		made := b.endpoint(webhook.Endpoint{
			TenantID: "acme", Description: "orders", EventTypes: []string{"order.*"},
			Headers: map[string]string{"X-Key": "k"}, Metadata: map[string]string{"crm": "7"},
			Retry: []time.Duration{time.Second, time.Minute}, Timeout: 3 * time.Second,
			AllowPrivate: webhook.Loopback, MaxInFlight: 4, RateLimit: 2.5,
		})
		require.Regexp(t, `^we_[0-9a-z]{26}$`, made.ID)
		require.Equal(t, webhook.EndpointEnabled, made.State)
		require.Equal(t, "POST", made.Method)
		require.Len(t, made.Secrets, 1)
		require.Regexp(t, `^whsec_`, made.Secrets[0].Value)
		got, err := b.GetEndpoint(ctx, made.ID)
		require.NoError(t, err)
		require.Equal(t, made, got)

		time.Sleep(time.Hour)
		updated, err := b.UpdateEndpoint(ctx, made.ID, func(e *webhook.Endpoint) error {
			e.Description = "all orders"
			e.TenantID, e.ID, e.State = "other", "we_x", webhook.EndpointDisabled
			return nil
		})
		require.NoError(t, err)
		want := made
		want.Description, want.UpdatedAt = "all orders", made.CreatedAt.Add(time.Hour)
		require.Equal(t, want, updated)

		no := errors.New("no")
		_, err = b.UpdateEndpoint(ctx, made.ID, func(e *webhook.Endpoint) error { e.URL = "https://x.example"; return no })
		require.ErrorIs(t, err, no)
		_, err = b.UpdateEndpoint(ctx, made.ID, func(e *webhook.Endpoint) error { e.URL = "ftp://x.example"; return nil })
		require.ErrorIs(t, err, webhook.ErrInvalid)
		got, err = b.GetEndpoint(ctx, made.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)

		second := b.endpoint(webhook.Endpoint{TenantID: "acme"})
		b.endpoint(webhook.Endpoint{})
		list, err := b.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: "acme"})
		require.NoError(t, err)
		require.Equal(t, []string{second.ID, made.ID}, []string{list[0].ID, list[1].ID})
		page, err := b.ListEndpoints(ctx, webhook.EndpointQuery{AllTenants: true, Limit: 1, After: second.ID})
		require.NoError(t, err)
		require.Equal(t, made.ID, page[0].ID)

		require.NoError(t, b.DeleteEndpoint(ctx, made.ID))
		_, err = b.GetEndpoint(ctx, made.ID)
		require.ErrorIs(t, err, webhook.ErrNotFound)
		require.ErrorIs(t, b.DeleteEndpoint(ctx, made.ID), webhook.ErrNotFound)
		require.ErrorIs(t, b.PauseEndpoint(ctx, "we_none"), webhook.ErrNotFound)
		require.Empty(t, b.send(webhook.Event{TenantID: "acme"}).DeliveryIDs[1:])
	})
}

func TestWhatAnEndpointMustNotBe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*webhook.Endpoint)
		field  string
	}{
		"no URL":            {func(e *webhook.Endpoint) { e.URL = "" }, "Endpoint.URL"},
		"scheme":            {func(e *webhook.Endpoint) { e.URL = "ftp://a.example" }, "Endpoint.URL"},
		"no host":           {func(e *webhook.Endpoint) { e.URL = "https:///x" }, "Endpoint.URL"},
		"user information":  {func(e *webhook.Endpoint) { e.URL = "https://u:p@a.example" }, "Endpoint.URL"},
		"fragment":          {func(e *webhook.Endpoint) { e.URL = "https://a.example/#x" }, "Endpoint.URL"},
		"private":           {func(e *webhook.Endpoint) { e.URL = "http://10.0.0.1/" }, "Endpoint.URL"},
		"loopback":          {func(e *webhook.Endpoint) { e.URL = "http://[::1]/" }, "Endpoint.URL"},
		"metadata service":  {func(e *webhook.Endpoint) { e.URL = "http://169.254.169.254/latest" }, "Endpoint.URL"},
		"method":            {func(e *webhook.Endpoint) { e.Method = "TRACE" }, "Endpoint.Method"},
		"star inside":       {func(e *webhook.Endpoint) { e.EventTypes = []string{"a", "b.*.c"} }, "Endpoint.EventTypes[1]"},
		"star without dot":  {func(e *webhook.Endpoint) { e.EventTypes = []string{"ord*"} }, "Endpoint.EventTypes[0]"},
		"empty type":        {func(e *webhook.Endpoint) { e.EventTypes = []string{""} }, "Endpoint.EventTypes[0]"},
		"reserved header":   {func(e *webhook.Endpoint) { e.Headers = map[string]string{"webhook-id": "x"} }, "Endpoint.Headers[webhook-id]"},
		"hop by hop":        {func(e *webhook.Endpoint) { e.Headers = map[string]string{"Connection": "close"} }, "Endpoint.Headers[Connection]"},
		"content type":      {func(e *webhook.Endpoint) { e.Headers = map[string]string{"Content-Type": "a/b"} }, "Endpoint.Headers[Content-Type]"},
		"header injection":  {func(e *webhook.Endpoint) { e.Headers = map[string]string{"X-A": "b\nX: c"} }, "Endpoint.Headers[X-A]"},
		"17 KiB of headers": {func(e *webhook.Endpoint) { e.Headers = map[string]string{"X-A": strings.Repeat("a", 17<<10)} }, "Endpoint.Headers"},
		"short secret":      {func(e *webhook.Endpoint) { e.Secrets = []webhook.Secret{{Value: "whsec_c2hvcnQ="}} }, "Endpoint.Secrets[0].Value"},
		"no base64":         {func(e *webhook.Endpoint) { e.Secrets = []webhook.Secret{{Value: "whsec_!"}} }, "Endpoint.Secrets[0].Value"},
		"masked secret":     {func(e *webhook.Endpoint) { e.Secrets = []webhook.Secret{{Value: "whsec_****"}} }, "Endpoint.Secrets[0].Value"},
		"negative rate":     {func(e *webhook.Endpoint) { e.RateLimit = -1 }, "Endpoint.RateLimit"},
		"no number":         {func(e *webhook.Endpoint) { e.RateLimit = math.NaN() }, "Endpoint.RateLimit"},
		"negative flight":   {func(e *webhook.Endpoint) { e.MaxInFlight = -1 }, "Endpoint.MaxInFlight"},
		"absurd timeout":    {func(e *webhook.Endpoint) { e.Timeout = 6 * time.Minute }, "Endpoint.Timeout"},
		"negative timeout":  {func(e *webhook.Endpoint) { e.Timeout = -1 }, "Endpoint.Timeout"},
		"negative wait":     {func(e *webhook.Endpoint) { e.Retry = []time.Duration{-1} }, "Endpoint.Retry[0]"},
		"101 waits":         {func(e *webhook.Endpoint) { e.Retry = make([]time.Duration, 101) }, "Endpoint.Retry"},
		"unknown auth":      {func(e *webhook.Endpoint) { e.Auth = &webhook.Auth{Kind: "x"} }, "Endpoint.Auth.Kind"},
		"certificate":       {func(e *webhook.Endpoint) { e.ClientCert = &webhook.ClientCert{Cert: "x"} }, "Endpoint.ClientCert"},
		"state":             {func(e *webhook.Endpoint) { e.State = webhook.EndpointDisabled }, "Endpoint.State"},
		"match":             {func(e *webhook.Endpoint) { e.Match = map[string]string{"a": "\x00"} }, "Endpoint.Match[a]"},
		"metadata":          {func(e *webhook.Endpoint) { e.Metadata = many(65) }, "Endpoint.Metadata"},
		"description":       {func(e *webhook.Endpoint) { e.Description = "\xff" }, "Endpoint.Description"},
		"tenant":            {func(e *webhook.Endpoint) { e.TenantID = "\x00" }, "Endpoint.TenantID"},
	} {
		t.Run(name, func(t *testing.T) {
			b := prepare(t, webhook.Config{HTTPClient: safeClient(t)})
			e := webhook.Endpoint{URL: "https://receiver.example/"}
			c.change(&e)
			_, err := b.CreateEndpoint(t.Context(), e)
			require.ErrorIs(t, err, webhook.ErrInvalid)
			var field *webhook.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, c.field, field.Field)
			list, err := b.ListEndpoints(t.Context(), webhook.EndpointQuery{AllTenants: true})
			require.NoError(t, err)
			require.Empty(t, list)
		})
	}
}

func safeClient(t *testing.T) *webhook.Client {
	c, err := webhook.NewClient(webhook.ClientConfig{})
	require.NoError(t, err)
	return c
}

func TestCustomersJSONCannotSetWhatIsNotTheirs(t *testing.T) {
	e := webhook.Endpoint{ID: "we_1", TenantID: "a", State: webhook.EndpointPaused, AllowPrivate: webhook.Loopback,
		Timeout: 5 * time.Second, EventTypes: []string{"x"}, Headers: map[string]string{"A": "1"},
		Secrets: []webhook.Secret{webhook.NewSecret()}}
	before := e
	require.NoError(t, json.Unmarshal([]byte(`{
		"id": "we_2", "tenantId": "b", "state": "enabled", "disabledReason": "x", "createdAt": "2001-01-01T00:00:00Z",
		"AllowPrivate": ["0.0.0.0/0"], "allowPrivate": ["0.0.0.0/0"],
		"url": "https://new.example", "timeoutMs": 1500, "retryMs": [1000, 60000], "headers": {"A": "****", "B": "2"}
	}`), &e))
	want := before
	want.URL, want.Timeout, want.Retry = "https://new.example", 1500*time.Millisecond, []time.Duration{time.Second, time.Minute}
	want.Headers = map[string]string{"A": "1", "B": "2"}
	require.Equal(t, want, e)
	require.Equal(t, map[string]string{"A": "1"}, before.Headers)
}

func TestAnEndpointsJSONIsMaskedAndComesBack(t *testing.T) {
	secret := webhook.NewSecret()
	e := webhook.Endpoint{
		ID: "we_1", URL: "https://a.example", Headers: map[string]string{"X-Key": "sesame"},
		Secrets: []webhook.Secret{secret}, Auth: &webhook.Auth{Kind: "basic", Settings: map[string]string{"password": "sesame"}},
		ClientCert: &webhook.ClientCert{Cert: "public", Key: "sesame"}, Timeout: 2 * time.Second,
	}
	data, err := json.Marshal(e)
	require.NoError(t, err)
	for _, text := range []string{string(data), fmt.Sprint(e), fmt.Sprintf("%+v %#v %s", e, e, e)} {
		require.NotContains(t, text, "sesame")
		require.NotContains(t, text, secret.Value)
	}
	require.Contains(t, string(data), `"timeoutMs":2000`)
	back := e
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, e.Secrets, back.Secrets)
	require.Equal(t, e.Headers, back.Headers)
	require.Equal(t, e.Auth, back.Auth)
	require.Equal(t, e.ClientCert, back.ClientCert)
	require.Equal(t, e.Timeout, back.Timeout)
}

func TestPausedDeliveriesAreHeldAndReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Workers: 4})
		e := b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Delay: 2 * time.Second}, webhooktest.Answer{Delay: 2 * time.Second},
			webhooktest.Answer{Delay: 2 * time.Second}, webhooktest.Answer{Delay: 2 * time.Second})
		var ids []string
		for range 12 { // more than Workers: some wait in memory
			ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		}
		time.Sleep(time.Second)
		require.Equal(t, 4, b.client.Count())
		require.NoError(t, b.PauseEndpoint(t.Context(), e.ID))
		require.NoError(t, b.PauseEndpoint(t.Context(), e.ID))
		ids = append(ids, b.send(webhook.Event{}).DeliveryIDs...)
		time.Sleep(time.Hour)
		require.Equal(t, 4, b.client.Count(), "attempts under way finish, no further one begins")
		held := b.delivery(ids[12])
		require.Equal(t, webhook.StateHeld, held.State)
		require.Equal(t, webhook.StatusPending, held.Status)
		require.Equal(t, "paused", held.HoldReason)
		require.Nil(t, held.NextRetryAt)
		stats, err := b.Stats(t.Context(), webhook.StatsQuery{})
		require.NoError(t, err)
		require.EqualValues(t, 9, stats.Held)
		require.NoError(t, b.Idle(t.Context()), "what is held is not due")

		require.NoError(t, b.UnpauseEndpoint(t.Context(), e.ID))
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 13, b.client.Count())
		for i, id := range ids {
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State)
			require.Equal(t, 1, d.AttemptCount)
			want := webhook.TriggerUnpause
			if i < 4 {
				want = webhook.TriggerInitial
			}
			require.Equal(t, want, d.Attempts[0].Trigger)
		}
	})
}

func TestA410DisablesTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch})
		e := b.endpoint(webhook.Endpoint{})
		b.client.Script(410)
		gone := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		synctest.Wait()
		d := b.delivery(gone)
		require.Equal(t, webhook.StateGone, d.State)
		require.Equal(t, webhook.CodeEndpointGone, d.FailureCode)
		require.Len(t, d.Attempts, 1)
		got, err := b.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.Equal(t, webhook.EndpointDisabled, got.State)
		require.Contains(t, got.DisabledReason, "410")
		require.Len(t, watch.kinds(webhook.NoticeEndpointDisabled), 1)

		held := b.send(webhook.Event{}).DeliveryIDs[0]
		require.Equal(t, webhook.StateHeld, b.delivery(held).State)
		require.ErrorIs(t, b.UnpauseEndpoint(t.Context(), e.ID), webhook.ErrEndpointDisabled)
		require.ErrorIs(t, b.PauseEndpoint(t.Context(), e.ID), webhook.ErrEndpointDisabled)
		time.Sleep(24 * time.Hour)
		enabled := time.Now()
		require.NoError(t, b.EnableEndpoint(t.Context(), e.ID))
		require.NoError(t, b.Idle(t.Context()))
		d = b.delivery(held)
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.Equal(t, webhook.TriggerUnpause, d.Attempts[0].Trigger)
		require.WithinDuration(t, enabled, d.Attempts[0].StartedAt, time.Second)
	})
}

func TestDaysOfNothingButFailuresDisable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule(time.Minute), DisableExhausted: 3, DisableAfter: 48 * time.Hour})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		e := b.endpoint(webhook.Endpoint{})
		for day := range 4 {
			b.send(webhook.Event{})
			time.Sleep(time.Hour)
			got, err := b.GetEndpoint(t.Context(), e.ID)
			require.NoError(t, err)
			if day < 2 {
				require.Equal(t, webhook.EndpointEnabled, got.State, "day %d", day)
			} else {
				require.Equal(t, webhook.EndpointDisabled, got.State)
			}
			time.Sleep(23 * time.Hour)
		}
		require.Len(t, watch.kinds(webhook.NoticeExhausted), 3)
		require.Len(t, watch.kinds(webhook.NoticeEndpointDisabled), 1)
	})
}

func TestADisabledEndpointsDeliveriesMayBeCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{OnDisabled: webhook.CancelDeliveries})
		e := b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)}).DeliveryIDs[0]
		require.NoError(t, b.DisableEndpoint(t.Context(), e.ID, "unpaid"))
		time.Sleep(time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateCanceled, d.State)
		require.Equal(t, webhook.CodeEndpointDisabled, d.FailureCode)

		id = b.send(webhook.Event{}).DeliveryIDs[0]
		require.Equal(t, webhook.StateHeld, b.delivery(id).State)
		time.Sleep(time.Hour + time.Second)
		d = b.delivery(id)
		require.Equal(t, webhook.StateCanceled, d.State, "what came later, within an hour")
		require.Equal(t, webhook.CodeEndpointDisabled, d.FailureCode)
		require.NoError(t, b.EnableEndpoint(t.Context(), e.ID))
		id = b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
		require.Equal(t, 1, b.client.Count())
	})
}

func TestDeletingAnEndpointCancelsWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		e := b.endpoint(webhook.Endpoint{})
		done := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		pending := b.send(webhook.Event{DeliverAt: time.Now().Add(time.Hour)}).DeliveryIDs[0]
		require.NoError(t, b.DeleteEndpoint(t.Context(), e.ID))
		time.Sleep(time.Second)
		d := b.delivery(pending)
		require.Equal(t, webhook.StateCanceled, d.State)
		require.Equal(t, webhook.CodeMissingURL, d.FailureCode)
		require.Equal(t, webhook.StateSucceeded, b.delivery(done).State, "history stays")
		err := b.Retry(t.Context(), done)
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.ErrorContains(t, err, "deleted")
	})
}

func TestRotatingSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		e := b.endpoint(webhook.Endpoint{})
		old := e.Secrets[0].Value
		fresh, err := b.RotateSecret(t.Context(), e.ID, 0)
		require.NoError(t, err)
		require.NotEqual(t, old, fresh.Value)
		verify := func(want error, secret string) {
			t.Helper()
			b.send(webhook.Event{})
			r := b.client.Next(t)
			v := webhook.Verifier{Secrets: []string{secret}}
			if err := v.Verify(r.Body, r.Header); want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, want)
			}
		}
		verify(nil, fresh.Value)
		verify(nil, old)
		time.Sleep(25 * time.Hour)
		verify(nil, fresh.Value)
		verify(webhook.ErrSignatureMismatch, old)
		last, err := b.RotateSecret(t.Context(), e.ID, -1)
		require.NoError(t, err)
		verify(nil, last.Value)
		verify(webhook.ErrSignatureMismatch, fresh.Value)
		got, err := b.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.Len(t, got.Secrets, 1)
	})
}

func TestSealedSettingsCannotBeReadWithoutTheirKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := []byte("0123456789abcdefghijklmnopqrstuv")
		sealer, err := webhook.NewAESSealer(key)
		require.NoError(t, err)
		b := start(t, webhook.Config{Sealer: sealer})
		e := b.endpoint(webhook.Endpoint{Headers: map[string]string{"X-Key": "sesame"}})
		row, err := b.store.GetEndpoint(t.Context(), e.ID)
		require.NoError(t, err)
		require.NotContains(t, string(row.Config), "sesame")
		require.NotContains(t, string(row.Config), e.Secrets[0].Value)
		b.send(webhook.Event{})
		require.Equal(t, "sesame", b.client.Next(t).Header.Get("X-Key"))
		b.stop()

		without, err := webhook.New(b.store, webhook.Config{HTTPClient: b.client, Logger: quiet()})
		require.NoError(t, err)
		_, err = without.GetEndpoint(t.Context(), e.ID)
		require.ErrorContains(t, err, "Config.Sealer")
		r, err := without.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("{}")})
		require.NoError(t, err, "other endpoints must not suffer")
		require.NoError(t, without.RunOnce(t.Context()))
		d, err := without.GetDelivery(t.Context(), r.DeliveryIDs[0])
		require.NoError(t, err)
		require.Equal(t, webhook.CodeInternalError, d.LastErrorCode)
		require.Equal(t, webhook.StatusPending, d.Status)
	})
}

func TestARateLimitDelaysAndNeverDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.endpoint(webhook.Endpoint{RateLimit: 2})
		free := b.endpoint(webhook.Endpoint{URL: "https://free.example/"})
		began := time.Now()
		for range 100 {
			b.send(webhook.Event{})
		}
		time.Sleep(time.Second)
		require.GreaterOrEqual(t, b.client.Count(), 100, "others are not held up")
		time.Sleep(time.Minute)
		var last time.Time
		limited := 0
		for _, r := range b.client.Requests() {
			if r.URL == free.URL {
				continue
			}
			if limited++; limited > 1 {
				require.GreaterOrEqual(t, r.At.Sub(last), 499*time.Millisecond)
			}
			last = r.At
		}
		require.Equal(t, 100, limited)
		require.WithinDuration(t, began.Add(49500*time.Millisecond), last, 3*time.Second)
		for item, err := range b.Deliveries(t.Context(), webhook.DeliveryQuery{}) {
			require.NoError(t, err)
			require.Equal(t, webhook.StateSucceeded, item.State)
			require.Equal(t, 1, item.AttemptCount)
		}
	})
}

func TestOrderedDeliveriesWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Minute)})
		b.endpoint(webhook.Endpoint{Ordered: true})
		b.client.Script(500)
		for n := range 20 {
			b.send(webhook.Event{Payload: fmt.Appendf(nil, "%d", n)})
		}
		time.Sleep(50 * time.Second)
		require.Equal(t, 1, b.client.Count(), "a failing head blocks its followers")
		time.Sleep(time.Minute)
		var got []string
		for _, r := range b.client.Requests()[1:] {
			got = append(got, string(r.Body))
		}
		require.Equal(t, strings.Fields("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19"), got)
	})
}

func TestHeadersOfEndpointAndEventAreSentAndNeverReplaceSignedOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{UserAgent: "acme/1"})
		e := b.endpoint(webhook.Endpoint{Method: http.MethodPut, Headers: map[string]string{"X-A": "endpoint", "X-B": "endpoint"}})
		id := b.send(webhook.Event{Headers: map[string]string{"X-B": "event"}}).DeliveryIDs[0]
		r := b.client.Next(t)
		require.Equal(t, http.MethodPut, r.Method)
		require.Equal(t, "endpoint", r.Header.Get("X-A"))
		require.Equal(t, "event", r.Header.Get("X-B"))
		require.Equal(t, "acme/1", r.Header.Get("User-Agent"))
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		v := webhook.Verifier{Secrets: []string{e.Secrets[0].Value}}
		require.NoError(t, v.Verify(r.Body, r.Header))
		require.NoError(t, b.Idle(t.Context()))
		a := b.delivery(id).Attempts[0]
		require.Equal(t, "[redacted]", a.RequestHeaders["X-A"])
		require.Equal(t, "acme/1", a.RequestHeaders["User-Agent"])
		require.Equal(t, http.MethodPut, a.Method)
	})
}
