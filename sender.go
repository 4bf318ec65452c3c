package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// sender makes attempts. It is safe for concurrent use.
type sender struct {
	client         HTTPClient
	signer         Signer
	authenticators map[string]Authenticator
	userAgent      string
	previewBytes   int           // 0 or less: none
	timeout        time.Duration // of a whole attempt, unless the endpoint has its own
	now            func() time.Time
	wall           func() time.Time // for signatures, which receivers hold against their own clocks
	log            *slog.Logger
}

const (
	// What is read of a body beyond its preview, so that the connection can be used again.
	drainBytes = 16 << 10
	drainTime  = time.Second
)

// errAttemptTimeout is the cause of an attempt's context when its time is up; the end of the
// caller's context is shutdown.
var errAttemptTimeout = errors.New("webhook: attempt timed out")

// fault is why an attempt has no status line to show.
type fault struct {
	code ErrorCode
	text string
}

// attempt makes one HTTP request for a claim and returns the record of it, all but ID, NextAttemptAt,
// CreatedAt and UpdatedAt. When ctx ends the attempt is interrupted.
func (s *sender) attempt(ctx context.Context, c Claim, t *target) DeliveryAttempt {
	x := newExchange(s.now(), t)
	a := DeliveryAttempt{
		TenantID: c.Event.TenantID, EventID: c.Event.ID, EventType: c.Event.Type,
		DeliveryID: c.DeliveryID, EndpointID: c.EndpointID, AttemptNumber: c.AttemptNumber,
		Trigger: c.Trigger, BulkRetryID: c.BulkRetryID,
		Method: t.method, URL: t.text, Status: AttemptFailed, StartedAt: micros(x.start),
	}
	if f := s.exchange(ctx, &c, t, x, &a); f != nil {
		a.ErrorCode, a.Error = f.code, cleanLine(f.text, maxErrorText)
		if f.code == CodeNetworkRequestCanceled {
			a.Status = AttemptInterrupted
		}
	}
	x.report(&a)
	return a
}

// exchange fills in what it learns. It returns nil as soon as there was a status line, whatever
// became of the body.
func (s *sender) exchange(ctx context.Context, c *Claim, t *target, x *exchange, a *DeliveryAttempt) (f *fault) {
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(a, v)
			if a.StatusCode == nil {
				f = &fault{CodeInternalError, "a client, signer or authenticator panicked; the log has the details"}
			}
		}
	}()
	if f := unsendable(c, t); f != nil {
		return f
	}
	timeout := t.timeout
	if timeout == 0 {
		timeout = s.timeout
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeout, errAttemptTimeout)
	defer cancel()
	r, f := s.request(limited, c, t, x, a)
	if f != nil {
		return f
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return s.failure(ctx, limited, x, err)
	}
	if resp == nil {
		return &fault{CodeInternalError, "the HTTPClient returned neither a response nor an error"}
	}
	return s.read(resp, cancel, x, a)
}

// unsendable says why there is nothing to be sent, or nowhere.
func unsendable(c *Claim, t *target) *fault {
	switch {
	case t.fault != nil:
		return t.fault
	case c.Event.ErasedAt != nil:
		return &fault{CodeDataArchived, "the payload was erased"}
	case c.Event.Payload == nil:
		return &fault{CodePayloadMissing, "the payload could not be read from the store"}
	}
	return nil
}

// failure explains an error of the client. Our own contexts come first: whatever the client makes of
// their end, the cause is theirs.
func (s *sender) failure(ctx, limited context.Context, x *exchange, err error) *fault {
	if errors.Is(err, ErrBlockedAddress) {
		return &fault{CodeBlockedAddress, blockedText(err)}
	}
	if limited.Err() != nil {
		return s.expired(ctx, limited, x)
	}
	return &fault{classify(err), errorText(err)}
}

// expired explains the end of an attempt's context.
func (s *sender) expired(ctx, limited context.Context, x *exchange) *fault {
	sent := "the request was not sent in full"
	if _, ok := x.wrote.get(); ok {
		sent = "the request was sent and may have been processed"
	}
	if context.Cause(limited) == errAttemptTimeout || ctx.Err() == nil {
		return &fault{CodeTimeout, "timed out " + x.phase() + "; " + sent}
	}
	return &fault{CodeNetworkRequestCanceled, "shut down " + x.phase() + "; " + sent}
}

// request builds the request. Its context reaches only the client: an Authenticator that makes
// requests of its own must not inherit the endpoint's exceptions.
func (s *sender) request(ctx context.Context, c *Claim, t *target, x *exchange, a *DeliveryAttempt) (*http.Request, *fault) {
	x.body = c.Event.Payload
	u := *t.url
	r := &http.Request{
		Method: t.method, URL: &u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, len(t.headers)+len(c.Event.Headers)+6),
	}
	own := ownHeaders{agent: s.userAgent, contentType: c.Event.ContentType}
	own.set(r.Header)
	setHeaders(r.Header, t.headers)
	setHeaders(r.Header, c.Event.Headers)
	if f := s.authorize(ctx, r, t); f != nil {
		return nil, f
	}
	if f := s.sign(r.Header, c, t, s.wall()); f != nil {
		return nil, f
	}
	if name, ok := invalidHeader(r.Header); ok {
		return nil, &fault{CodeInvalidCharacter, fmt.Sprintf("header %q has a character that HTTP does not allow", name)}
	}
	r.Body, r.ContentLength = payloadBody(c.Event.Payload), int64(len(c.Event.Payload))
	_, own.signed = s.signer.(*standardSigner)
	a.RequestHeaders = own.record(r)
	return r.WithContext(x.attach(ctx)), nil
}

// authorize asks the endpoint's Authenticator for credentials. Only headers that it sets count: what
// is requested, and the body, stay as recorded and signed.
func (s *sender) authorize(ctx context.Context, r *http.Request, t *target) *fault {
	auth := t.endpoint.Auth
	if auth == nil {
		return nil
	}
	authenticator := s.authenticators[auth.Kind]
	if authenticator == nil {
		return &fault{CodeInternalError, fmt.Sprintf("no Authenticator %q in Config.Authenticators", auth.Kind)}
	}
	u := *r.URL
	asked := (&http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: r.Header.Clone(), Body: http.NoBody}).WithContext(ctx)
	if err := authenticator.Authorize(ctx, asked, t.endpoint); err != nil {
		if errors.Is(context.Cause(ctx), errAttemptTimeout) || ctx.Err() == nil {
			return &fault{CodeOAuth2HandshakeFailed, "authenticator: " + errorText(err)}
		}
		return &fault{CodeNetworkRequestCanceled, "shut down while the authenticator was at work; the request was not sent"}
	}
	for name, values := range asked.Header {
		if !reservedHeader(name) {
			r.Header[name] = values
		}
	}
	return nil
}

// sign lets the Signer put its headers over all others.
func (s *sender) sign(h http.Header, c *Claim, t *target, at time.Time) *fault {
	m := Message{
		ID: c.Event.ID, Timestamp: micros(at), Body: c.Event.Payload,
		Secrets: t.liveSecrets(at), Endpoint: t.endpoint,
	}
	signed := make(http.Header, 3)
	if err := s.signer.Sign(signed, m); err != nil {
		return &fault{CodeInternalError, "signer: " + errorText(err)}
	}
	for name, values := range signed {
		if framingHeader(name) {
			continue
		}
		delete(h, http.CanonicalHeaderKey(name))
		h[name] = values
	}
	return nil
}

func payloadBody(payload []byte) io.ReadCloser {
	if len(payload) == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(payload))
}

// read takes the evidence from a response and closes it. The status line alone is the verdict.
func (s *sender) read(resp *http.Response, cancel context.CancelFunc, x *exchange, a *DeliveryAttempt) *fault {
	x.responded.set(x)
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	defer func() {
		// A body that panics is as good as one that broke off.
		if v := recover(); v != nil {
			s.logPanic(a, v)
			a.ResponseBodyTruncated = true
		}
		x.completed.first(x)
	}()
	defer resp.Body.Close()
	if first := turnedIntoGET(resp, a.Method); first != nil {
		resp = &http.Response{StatusCode: first.StatusCode, Header: first.Header, Body: http.NoBody}
	}
	if resp.StatusCode < 1 || resp.StatusCode > 999 {
		return &fault{CodeProtocolError, fmt.Sprintf("status %d is none", resp.StatusCode)}
	}
	status := resp.StatusCode
	a.StatusCode = &status
	a.ResponseHeaders = captureHeaders(resp.Header)
	a.Status, a.ErrorCode = verdict(status)
	if a.Status != AttemptSucceeded {
		if wait, ok := parseRetryAfter(resp.Header.Get("Retry-After"), x.at(time.Since(x.began))); ok {
			ms := wait.Milliseconds()
			a.RetryAfterMS = &ms
		}
	}
	// After 101 the connection is no longer HTTP; there is no body.
	if status == http.StatusSwitchingProtocols {
		a.ResponseBodyPreview = new(string)
		return nil
	}
	s.readBody(resp.Body, cancel, x, a)
	return nil
}

// verdict of a status line. Only 2xx succeeds: 099, 101 and 999 reach us without an error.
func verdict(status int) (AttemptStatus, ErrorCode) {
	switch {
	case status >= 200 && status <= 299:
		return AttemptSucceeded, ""
	case status == http.StatusGone:
		return AttemptFailed, CodeEndpointGone
	}
	return AttemptFailed, CodeBadResponse
}

// turnedIntoGET finds the redirect that made a client of the user's own ask with another method, and
// so without the payload.
func turnedIntoGET(resp *http.Response, method string) *http.Response {
	if resp.Request == nil || resp.Request.Response == nil || resp.Request.Method == method {
		return nil
	}
	first := resp.Request.Response
	for first.Request != nil && first.Request.Response != nil {
		first = first.Request.Response
	}
	return first
}

var previewBuffers = sync.Pool{New: func() any { return new([]byte) }}

// readBody keeps the beginning of the body, and reads a little more so that the connection can carry
// the next request.
func (s *sender) readBody(body io.Reader, cancel context.CancelFunc, x *exchange, a *DeliveryAttempt) {
	limit := max(s.previewBytes, 0)
	buf := previewBuffers.Get().(*[]byte)
	defer previewBuffers.Put(buf)
	if cap(*buf) < limit+1 {
		*buf = make([]byte, limit+1)
	}
	b := (*buf)[:limit+1]
	empty := ""
	a.ResponseBodyPreview = &empty // should the body panic
	n, ended, _ := readUpTo(body, b)
	x.completed.set(x)
	whole := ended && n <= limit
	preview, cut := cleanText(b[:min(n, limit)], limit, !whole)
	a.ResponseBodyPreview, a.ResponseBodyTruncated = &preview, cut || !whole
	if n == len(b) && !ended {
		stop := time.AfterFunc(drainTime, cancel)
		defer stop.Stop()
		_, _ = io.CopyN(io.Discard, body, drainBytes)
	}
}

func (s *sender) logPanic(a *DeliveryAttempt, v any) {
	s.log.Error("webhook: panic in a client, signer or authenticator",
		"delivery", a.DeliveryID, "endpoint", a.EndpointID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// micros is the precision in which instants are recorded.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
