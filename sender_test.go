package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTestClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	if cfg.AllowPrivate == nil {
		cfg.AllowPrivate = Loopback
	}
	client, err := NewClient(cfg)
	require.NoError(t, err)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func newTestSender(client HTTPClient) *sender {
	return &sender{
		client: client, signer: testSigner{&standardSigner{}}, userAgent: "test/1", previewBytes: 2048,
		timeout: 5 * time.Second, now: time.Now, log: slog.New(slog.DiscardHandler),
	}
}

// testSigner spares tests that are about something else an endpoint with secrets.
type testSigner struct{ *standardSigner }

func (s testSigner) Sign(h http.Header, m Message) error {
	if len(m.Secrets) == 0 {
		m.Secrets = []string{NewSecret().Value}
	}
	return s.standardSigner.Sign(h, m)
}

func testClaim() Claim {
	return Claim{
		DeliveryID: "wd_1", EndpointID: "we_1", AttemptNumber: 3, Trigger: TriggerManual, BulkRetryID: "br_1",
		Event: Event{ID: "evt_1", TenantID: "acme", Type: "order.created", Payload: []byte(`{"n":1}`)},
	}
}

func TestAttemptRecordsASuccess(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Add("Set-Cookie", "secret=1")
		w.Header().Add("X-Many", "a")
		w.Header().Add("X-Many", "b")
		w.Header().Set("Retry-After", "9")
		_, _ = io.WriteString(w, "thanks")
	}))
	defer server.Close()

	s := newTestSender(newTestClient(t, ClientConfig{}))
	s.signer = &standardSigner{}
	claim := testClaim()
	claim.Event.Headers = map[string]string{"X-Event": "e", "Webhook-Id": "forged", "Host": "forged", "X-Both": "event"}
	a := s.attempt(context.Background(), claim, newTarget(Endpoint{
		URL: server.URL + "/hook?token=x", Headers: map[string]string{"x-key": "k", "X-Both": "endpoint"},
		Secrets: []Secret{NewSecret()},
	}))

	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
	require.Equal(t, 200, *a.StatusCode)
	require.Empty(t, a.ErrorCode)
	require.Empty(t, a.Error)
	require.Equal(t, "acme", a.TenantID)
	require.Equal(t, 3, a.AttemptNumber)
	require.Equal(t, "br_1", a.BulkRetryID)
	require.Equal(t, "POST", a.Method)
	require.Equal(t, server.URL+"/hook?token=x", a.URL)
	require.Equal(t, "thanks", *a.ResponseBodyPreview)
	require.False(t, a.ResponseBodyTruncated)
	require.Equal(t, "a, b", a.ResponseHeaders["X-Many"])
	require.NotContains(t, a.ResponseHeaders, "Set-Cookie")
	require.Nil(t, a.RetryAfterMS, "a success has nothing to be retried")
	require.Equal(t, server.Listener.Addr().String(), a.RemoteAddr)
	require.NotNil(t, a.Timings)
	require.False(t, a.DeliveredAt.Before(a.StartedAt))
	require.False(t, a.CompletedAt.Before(*a.RespondedAt))

	require.Equal(t, `{"n":1}`, string(body))
	require.Equal(t, "evt_1", got.Header.Get("Webhook-Id"))
	require.Equal(t, "event", got.Header.Get("X-Both"))
	require.Equal(t, "application/json", got.Header.Get("Content-Type"))
	require.Equal(t, "test/1", got.UserAgent())
	require.Equal(t, int64(7), got.ContentLength)
	require.NotEqual(t, "forged", got.Host)

	require.Equal(t, "[redacted]", a.RequestHeaders["X-Key"])
	require.Equal(t, "[redacted]", a.RequestHeaders["X-Event"])
	require.Equal(t, "evt_1", a.RequestHeaders["Webhook-Id"])
	require.Equal(t, "7", a.RequestHeaders["Content-Length"])
	require.Equal(t, "test/1", a.RequestHeaders["User-Agent"])
}

type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestAttemptSurvivesWhatPanics(t *testing.T) {
	s := newTestSender(clientFunc(func(*http.Request) (*http.Response, error) { panic("boom") }))
	a := s.attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: "http://example.com"}))
	require.Equal(t, CodeInternalError, a.ErrorCode)
	require.Equal(t, AttemptFailed, a.Status)
	require.NotContains(t, a.Error, "boom")
	require.False(t, a.CompletedAt.IsZero())
}

func TestAttemptIsInterruptedByShutdown(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := newTestSender(clientFunc(func(r *http.Request) (*http.Response, error) {
		cancel(errors.New("drain"))
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}))
	a := s.attempt(ctx, testClaim(), newTarget(Endpoint{URL: "http://example.com"}))
	require.Equal(t, CodeNetworkRequestCanceled, a.ErrorCode)
	require.Equal(t, AttemptInterrupted, a.Status)
	require.NotEmpty(t, a.Error)
}
