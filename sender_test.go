package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
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
		timeout: 20 * time.Second, now: time.Now, wall: time.Now, log: slog.New(slog.DiscardHandler),
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

func answer(status int, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}
}

func answering(status int, body string) clientFunc {
	return func(*http.Request) (*http.Response, error) { return answer(status, strings.NewReader(body)), nil }
}

var somewhere = Endpoint{ID: "we_1", URL: "http://example.com/hook"}

func TestDeadlineIsExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSender(clientFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, &url.Error{Op: "Post", URL: "http://example.com/?secret", Err: context.DeadlineExceeded}
		}))
		s.timeout = 15 * time.Second
		a := try(s, somewhere)
		require.Equal(t, CodeTimeout, a.ErrorCode)
		require.Equal(t, AttemptFailed, a.Status)
		require.Equal(t, int64(15000), a.DurationMS)
		require.Equal(t, 15*time.Second, a.CompletedAt.Sub(a.StartedAt))

		own := somewhere
		own.Timeout = 2 * time.Second
		require.Equal(t, int64(2000), try(s, own).DurationMS)
	})
}

func TestAClientWithoutTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSender(clientFunc(func(*http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			return answer(200, strings.NewReader("ok")), nil
		}))
		a := try(s, somewhere)
		require.Equal(t, a.RespondedAt, a.DeliveredAt)
		require.Equal(t, a.StartedAt.Add(3*time.Second), *a.DeliveredAt)
		require.Nil(t, a.Timings)
		require.Empty(t, a.RemoteAddr)
	})
}

// The clock of the records may be another than the one that measures.
func TestInstantsFollowTheDispatchersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSender(clientFunc(func(*http.Request) (*http.Response, error) {
			time.Sleep(1500 * time.Microsecond)
			return answer(500, strings.NewReader("")), nil
		}))
		s.now = func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 7777, time.FixedZone("x", 3600)) }
		a := try(s, somewhere)
		require.Equal(t, time.Date(2031, 2, 3, 3, 5, 6, 7000, time.UTC), a.StartedAt)
		require.Equal(t, time.Date(2031, 2, 3, 3, 5, 6, 1507000, time.UTC), a.CompletedAt)
		require.Equal(t, int64(1), a.DurationMS)
	})
}

// What was shown of the body is what completes an attempt, not the rest of it.
func TestTheRestOfABodyIsReadForAMomentOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newTestSender(clientFunc(func(r *http.Request) (*http.Response, error) {
			return answer(200, io.MultiReader(strings.NewReader(strings.Repeat("x", 2049)), untilDone{r.Context()})), nil
		}))
		a := try(s, somewhere)
		require.Equal(t, AttemptSucceeded, a.Status)
		require.True(t, a.ResponseBodyTruncated)
		require.Len(t, *a.ResponseBodyPreview, 2048)
		require.Zero(t, a.DurationMS)
		require.Equal(t, drainTime, time.Since(began))
	})
}

type untilDone struct{ ctx context.Context }

func (r untilDone) Read([]byte) (int, error) { <-r.ctx.Done(); return 0, r.ctx.Err() }

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("body") }

func TestABodyNeverChangesTheVerdict(t *testing.T) {
	text := func(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }
	for name, c := range map[string]struct {
		body  func() io.Reader
		shown string
		cut   bool
	}{
		"whole": {text("done"), "done", false},
		"broken": {func() io.Reader {
			return io.MultiReader(strings.NewReader("ha"), iotest.ErrReader(io.ErrUnexpectedEOF))
		}, "ha", true},
		"panics":   {func() io.Reader { return panicking{} }, "", true},
		"too long": {text(strings.Repeat("é", 1025)), strings.Repeat("é", 1024), true},
		"in half":  {text("a" + strings.Repeat("é", 1024)), "a" + strings.Repeat("é", 1023), true},
		"exact":    {text(strings.Repeat("x", 2048)), strings.Repeat("x", 2048), false},
		"binary":   {text("\x1f\x8b\x00"), "\x1f\uFFFD\uFFFD", false},
	} {
		for status, want := range map[int]ErrorCode{200: "", 500: CodeBadResponse} {
			a := try(newTestSender(clientFunc(func(*http.Request) (*http.Response, error) {
				return answer(status, c.body()), nil
			})), somewhere)
			require.Equal(t, want, a.ErrorCode, name)
			require.Equal(t, c.shown, *a.ResponseBodyPreview, name)
			require.Equal(t, c.cut, a.ResponseBodyTruncated, name)
			checkRecord(t, a, status)
		}
	}
}

func TestNoPreviewWanted(t *testing.T) {
	s := newTestSender(answering(200, "text"))
	s.previewBytes = -1
	a := try(s, somewhere)
	require.Empty(t, *a.ResponseBodyPreview)
	require.True(t, a.ResponseBodyTruncated)
	s.client = answering(204, "")
	require.False(t, try(s, somewhere).ResponseBodyTruncated)
}

func TestStatusLines(t *testing.T) {
	for status, want := range map[int]ErrorCode{
		200: "", 201: "", 299: "", 99: CodeBadResponse, 101: CodeBadResponse, 199: CodeBadResponse, 300: CodeBadResponse,
		304: CodeBadResponse, 410: CodeEndpointGone, 600: CodeBadResponse, 999: CodeBadResponse,
		0: CodeProtocolError, -1: CodeProtocolError, 1000: CodeProtocolError,
	} {
		a := try(newTestSender(answering(status, "")), somewhere)
		require.Equal(t, want, a.ErrorCode, status)
		require.Equal(t, want == CodeProtocolError, a.StatusCode == nil, status)
	}
}

func TestRetryAfterIsAHintOnFailureOnly(t *testing.T) {
	for status, want := range map[int]bool{200: false, 302: true, 429: true, 503: true} {
		a := try(newTestSender(clientFunc(func(*http.Request) (*http.Response, error) {
			resp := answer(status, strings.NewReader(""))
			resp.Header.Set("Retry-After", "9223372037")
			return resp, nil
		})), somewhere)
		require.Equal(t, want, a.RetryAfterMS != nil, status)
		if want {
			require.Equal(t, int64(24*time.Hour/time.Millisecond), *a.RetryAfterMS)
		}
	}
}

// sent makes an attempt and returns the request that the client got, with its body.
func sent(t *testing.T, s *sender, c Claim, e Endpoint) (*http.Request, string, DeliveryAttempt) {
	t.Helper()
	var got *http.Request
	var body []byte
	s.client = clientFunc(func(r *http.Request) (*http.Response, error) {
		got = r
		body, _ = io.ReadAll(r.Body)
		return answer(200, strings.NewReader("")), nil
	})
	a := s.attempt(context.Background(), c, newTarget(e))
	require.NotNil(t, got, a.Error)
	return got, string(body), a
}

func TestTheSignerAlwaysWins(t *testing.T) {
	s, claim := newTestSender(nil), testClaim()
	lower := strings.ToLower("X-Sig") // not in canonical form
	s.signer = signFunc(func(h http.Header) error {
		h[lower] = []string{"real"}
		h.Set("X-Token", "real")
		h.Set("Content-Length", "0")
		return nil
	})
	claim.Event.Headers = map[string]string{"X-Token": "forged"}
	endpoint := somewhere
	endpoint.Headers = map[string]string{"X-Sig": "forged", "x-token": "forged"}
	r, _, a := sent(t, s, claim, endpoint)
	require.Equal(t, []string{"real"}, r.Header[lower])
	require.NotContains(t, r.Header, "X-Sig")
	require.Equal(t, []string{"real"}, r.Header["X-Token"])
	require.NotContains(t, r.Header, "Content-Length")
	require.Equal(t, int64(7), r.ContentLength)
	require.Equal(t, "[redacted]", a.RequestHeaders[lower], "another scheme's signature may be a password")
	require.Equal(t, "[redacted]", a.RequestHeaders["X-Token"])
}

func TestReservedHeadersAreNeverSent(t *testing.T) {
	s, claim := newTestSender(nil), testClaim()
	custom := map[string]string{"X-Ok": "1", "User-Agent": "mine", "Content-Type": "text/plain"}
	for _, name := range []string{
		"Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
		"HTTP2-Settings", "Proxy-Connection", "Proxy-Authorization", "webhook-id", "Webhook-Signature", "WEBHOOK-TIMESTAMP", "webhook-other",
	} {
		custom[name] = "forged"
		require.True(t, reservedHeader(name))
	}
	claim.Event.Headers = custom
	endpoint := somewhere
	endpoint.Headers = custom
	r, _, a := sent(t, s, claim, endpoint)
	for name, values := range r.Header {
		require.NotContains(t, values, "forged", name)
	}
	require.Equal(t, "example.com", r.Host)
	require.Equal(t, "mine", r.UserAgent())
	require.Equal(t, "[redacted]", a.RequestHeaders["User-Agent"])
	require.Equal(t, "[redacted]", a.RequestHeaders["Content-Type"])
	require.NotContains(t, a.RequestHeaders, "Host")
}

func TestEveryMethodCarriesThePayload(t *testing.T) {
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		endpoint := somewhere
		endpoint.Method = method
		r, body, a := sent(t, newTestSender(nil), testClaim(), endpoint)
		require.Equal(t, method, r.Method)
		require.Equal(t, method, a.Method)
		require.Equal(t, `{"n":1}`, body)
		require.Nil(t, r.GetBody, "net/http must not be able to send it again")
	}
}

func TestAnEmptyPayloadIsAPayload(t *testing.T) {
	claim := testClaim()
	claim.Event.Payload = []byte{}
	r, body, a := sent(t, newTestSender(nil), claim, somewhere)
	require.Empty(t, body)
	require.Zero(t, r.ContentLength)
	require.Equal(t, "0", a.RequestHeaders["Content-Length"])
	require.Equal(t, AttemptSucceeded, a.Status)
}

func TestOnlyHeadersOfAnAuthenticatorCount(t *testing.T) {
	s := newTestSender(nil)
	s.authenticators = map[string]Authenticator{"k": authFunc(func(r *http.Request) error {
		require.Nil(t, exchangeOf(r.Context()), "its own requests must not inherit the endpoint's exceptions")
		require.Nil(t, httptrace.ContextClientTrace(r.Context()))
		r.Header.Set("Authorization", "Bearer token")
		r.Header.Set("Webhook-Signature", "forged")
		r.Header.Set("Transfer-Encoding", "chunked")
		r.URL.Host, r.Host, r.Method = "elsewhere.example", "elsewhere.example", "GET"
		return nil
	})}
	endpoint := somewhere
	endpoint.Auth = &Auth{Kind: "k"}
	r, body, a := sent(t, s, testClaim(), endpoint)
	require.Equal(t, "Bearer token", r.Header.Get("Authorization"))
	require.Equal(t, "[redacted]", a.RequestHeaders["Authorization"])
	require.NotEqual(t, "forged", r.Header.Get("Webhook-Signature"))
	require.NotContains(t, r.Header, "Transfer-Encoding")
	require.Equal(t, "example.com", r.URL.Host)
	require.Equal(t, "example.com", r.Host)
	require.Equal(t, "POST", r.Method)
	require.NotEmpty(t, body)
}

func TestShutdownInAnAuthenticatorIsNotItsFault(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := newTestSender(answering(200, ""))
	s.authenticators = map[string]Authenticator{"k": authFunc(func(r *http.Request) error {
		cancel()
		<-r.Context().Done()
		return r.Context().Err()
	})}
	endpoint := somewhere
	endpoint.Auth = &Auth{Kind: "k"}
	a := s.attempt(ctx, testClaim(), newTarget(endpoint))
	require.Equal(t, CodeNetworkRequestCanceled, a.ErrorCode)
	require.Equal(t, AttemptInterrupted, a.Status)
	require.Nil(t, a.DeliveredAt)
}

func TestOnlyLiveSecretsSign(t *testing.T) {
	now := time.Now()
	target := newTarget(Endpoint{URL: "http://a.test", Secrets: []Secret{
		{Value: "new"}, {Value: "old", ExpiresAt: now.Add(time.Hour)}, {Value: "older", ExpiresAt: now},
	}})
	require.Equal(t, []string{"new", "old"}, target.liveSecrets(now))
}

func TestPanicsAreLoggedWithoutPayload(t *testing.T) {
	var log bytes.Buffer
	s, claim := newTestSender(nil), testClaim()
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	claim.Event.Payload = []byte("topsecret")
	for name, fault := range map[string]func(){
		"client": func() { s.client = clientFunc(func(*http.Request) (*http.Response, error) { panic("boom") }) },
		"signer": func() { s.signer = signFunc(func(http.Header) error { panic("boom") }) },
	} {
		log.Reset()
		fault()
		a := s.attempt(context.Background(), claim, newTarget(somewhere))
		require.Equal(t, CodeInternalError, a.ErrorCode, name)
		require.Contains(t, log.String(), "boom")
		require.Contains(t, log.String(), "wd_1")
		require.NotContains(t, log.String(), "topsecret")
		checkRecord(t, a, 0)
	}
}

func TestErrorTextsAreBoundedAndClean(t *testing.T) {
	s := newTestSender(clientFunc(func(*http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Post", URL: "http://a/?token=hunter2", Err: errors.New(strings.Repeat("\x00\xff", 2000))}
	}))
	a := try(s, somewhere)
	checkRecord(t, a, 0)
	require.True(t, utf8.ValidString(a.Error))
	require.NotContains(t, a.Error, "hunter2")
	require.NotContains(t, a.Error, "\x00")
}

// Many at once, over all kinds of receivers and rules, for the race detector.
func TestAttemptsAtOnce(t *testing.T) {
	lab := hostile.New(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	client := labClient(t, lab)
	defer client.CloseIdleConnections()
	s := newTestSender(client)
	type receiver struct {
		target *target
		code   ErrorCode
	}
	var receivers []receiver
	for _, name := range []string{"status-200", "status-500", "stale-keep-alive", "tls", "h2", "h2-goaway", "close", "broken-body"} {
		server := lab.StartNamed(name)
		receivers = append(receivers, receiver{newTarget(Endpoint{URL: server.URL}), ErrorCode(server.Mode.Code)},
			receiver{newTarget(Endpoint{URL: server.URL, AllowPrivate: Loopback}), ErrorCode(server.Mode.Code)})
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 32 {
				r := receivers[i%len(receivers)]
				a := s.attempt(context.Background(), testClaim(), r.target)
				if a.ErrorCode != r.code {
					t.Errorf("%s: %s %s, want %q", a.URL, a.ErrorCode, a.Error, r.code)
				}
			}
		})
	}
	wg.Wait()
	lab.Close()
}
