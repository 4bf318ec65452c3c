package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/outhook/webhook/internal/http1"
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
	timeout := t.timeout
	if timeout == 0 {
		timeout = s.timeout
	}
	p := newPosting(ctx, s.now(), timeout, t, c.Event.Payload)
	defer p.done()
	a := DeliveryAttempt{
		TenantID: c.Event.TenantID, EventID: c.Event.ID, EventType: c.Event.Type,
		DeliveryID: c.DeliveryID, EndpointID: c.EndpointID, AttemptNumber: c.AttemptNumber,
		Trigger: c.Trigger, BulkRetryID: c.BulkRetryID,
		Method: t.method, URL: t.text, Status: AttemptFailed, StartedAt: micros(p.start),
	}
	if f := s.exchange(p, &c, &a); f != nil {
		a.ErrorCode, a.Error = f.code, cleanLine(f.text, maxErrorText)
		if f.code == CodeNetworkRequestCanceled {
			a.Status = AttemptInterrupted
		}
	}
	p.report(&a)
	return a
}

// exchange fills in what it learns. It returns nil as soon as there was a status line, whatever
// became of the body.
func (s *sender) exchange(p *posting, c *Claim, a *DeliveryAttempt) (f *fault) {
	defer func() {
		if v := recover(); v != nil {
			p.shared = true
			s.logPanic(a, v)
			if a.StatusCode == nil {
				f = &fault{CodeInternalError, "a client, signer or authenticator panicked; the log has the details"}
			}
		}
	}()
	if f := unsendable(c, p.target); f != nil {
		return f
	}
	if f := s.compose(p, c, a); f != nil {
		return f
	}
	if client, ok := s.client.(*Client); ok {
		return s.post(client, p, a)
	}
	r, _ := p.request()
	resp, err := s.client.Do(r)
	if err != nil {
		return s.failure(p, err)
	}
	if resp == nil {
		return &fault{CodeInternalError, "the HTTPClient returned neither a response nor an error"}
	}
	return s.read(resp, p, a)
}

// post sends by the default client, past Do: with HTTP/1.1 neither a request nor a response of net/http
// is made.
func (s *sender) post(client *Client, p *posting, a *DeliveryAttempt) *fault {
	if err := client.planPosting(p); err != nil {
		return s.failure(p, err)
	}
	conn, resp, err := client.exchange(&p.plan)
	if err != nil {
		return s.failure(p, err)
	}
	if resp != nil {
		client.untilClosed(resp, conn, p.cancel)
		return s.read(resp, p, a)
	}
	defer client.release(conn, false)
	p.conn = conn.h1
	return s.readOwn(conn.h1, p, a)
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

// failure explains an error of the client. The attempt's own end comes first: whatever the client makes
// of it.
func (s *sender) failure(p *posting, err error) *fault {
	switch {
	case errors.Is(err, ErrBlockedAddress):
		return &fault{CodeBlockedAddress, blockedText(err)}
	case p.over():
		return p.expired()
	}
	return &fault{classify(err), errorText(err)}
}

// expired explains the end of an attempt.
func (p *posting) expired() *fault {
	sent := "the request was not sent in full"
	if _, ok := p.wrote.get(); ok {
		sent = "the request was sent and may have been processed"
	}
	if p.timedOut() || p.parent.Err() == nil {
		return &fault{CodeTimeout, "timed out " + p.phase() + "; " + sent}
	}
	return &fault{CodeNetworkRequestCanceled, "shut down " + p.phase() + "; " + sent}
}

// compose gathers the headers of the request, and shows them on the record.
func (s *sender) compose(p *posting, c *Claim, a *DeliveryAttempt) *fault {
	own := ownHeaders{agent: s.userAgent, contentType: c.Event.ContentType}
	own.set(&p.fields)
	for _, f := range p.target.headers {
		p.fields.set(f.name, f.value)
	}
	for name, value := range c.Event.Headers {
		if !reservedHeader(name) {
			p.fields.set(http.CanonicalHeaderKey(name), value)
		}
	}
	if f := s.authorize(p); f != nil {
		return f
	}
	var f *fault
	if own.signed, f = s.sign(p, c, s.wall()); f != nil {
		return f
	}
	if name, found := p.fields.invalid(); found {
		return &fault{CodeInvalidCharacter, fmt.Sprintf("header %q has a character that HTTP does not allow", name)}
	}
	a.RequestHeaders = p.record(&own)
	return nil
}

// authorize asks the endpoint's Authenticator for credentials. Only headers that it sets count: what
// is requested, and the body, stay as recorded and signed. Its context is not the request's: an
// Authenticator that makes requests of its own must not inherit the endpoint's exceptions.
func (s *sender) authorize(p *posting) *fault {
	auth := p.target.endpoint.Auth
	if auth == nil {
		return nil
	}
	authenticator := s.authenticators[auth.Kind]
	if authenticator == nil {
		return &fault{CodeInternalError, fmt.Sprintf("no Authenticator %q in Config.Authenticators", auth.Kind)}
	}
	u, ctx := *p.target.url, p.ends()
	asked := (&http.Request{Method: p.target.method, URL: &u, Host: u.Host, Header: p.fields.header(), Body: http.NoBody}).WithContext(ctx)
	if err := authenticator.Authorize(ctx, asked, p.target.endpoint); err != nil {
		if errors.Is(context.Cause(ctx), errAttemptTimeout) || ctx.Err() == nil {
			return &fault{CodeOAuth2HandshakeFailed, "authenticator: " + errorText(err)}
		}
		return &fault{CodeNetworkRequestCanceled, "shut down while the authenticator was at work; the request was not sent"}
	}
	for name, values := range asked.Header {
		if !reservedHeader(name) {
			p.fields.setAll(name, values)
		}
	}
	return nil
}

// sign lets the Signer put its headers over all others, and reports whether it is the library's own.
func (s *sender) sign(p *posting, c *Claim, at time.Time) (standard bool, f *fault) {
	secrets := p.target.liveSecrets(at)
	if signer, ok := s.signer.(*standardSigner); ok {
		var timestamp, signature string
		var err error
		if timestamp, signature, p.length, err = signer.sign(c.Event.ID, at, p.payload, secrets); err != nil {
			return true, signerFault(err)
		}
		p.fields.set(HeaderID, c.Event.ID)
		p.fields.set(HeaderSignature, signature)
		p.fields.set(HeaderTimestamp, timestamp)
		return true, nil
	}
	p.length = strconv.Itoa(len(p.payload))
	m := Message{
		ID: c.Event.ID, Timestamp: micros(at), Body: p.payload,
		Secrets: slices.Clone(secrets), Endpoint: p.target.endpoint,
	}
	signed := make(http.Header, 3)
	if err := s.signer.Sign(signed, m); err != nil {
		return false, signerFault(err)
	}
	for name, values := range signed {
		if !framingHeader(name) {
			p.fields.remove(http.CanonicalHeaderKey(name))
			p.fields.setAll(name, values)
		}
	}
	return false, nil
}

func signerFault(err error) *fault { return &fault{CodeInternalError, "signer: " + errorText(err)} }

// readOwn takes the evidence from a response on a connection of our own.
func (s *sender) readOwn(conn *http1.Conn, p *posting, a *DeliveryAttempt) *fault {
	p.responded.set(&p.exchange)
	h := conn.Head()
	if f := s.judge(h.Code, h.Get("Retry-After"), p, a); f != nil {
		return f
	}
	a.ResponseHeaders = captureFields(h)
	if h.Code == http.StatusSwitchingProtocols {
		a.ResponseBodyPreview = new(string)
		return nil
	}
	s.readBody(conn, p, a)
	return nil
}

// read takes the evidence from a response and closes it. The status line alone is the verdict.
func (s *sender) read(resp *http.Response, p *posting, a *DeliveryAttempt) *fault {
	p.responded.set(&p.exchange)
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	defer func() {
		// A body that panics is as good as one that broke off.
		if v := recover(); v != nil {
			s.logPanic(a, v)
			a.ResponseBodyTruncated = true
		}
		p.completed.first(&p.exchange)
	}()
	defer resp.Body.Close()
	if first := turnedIntoGET(resp, a.Method); first != nil { //nolint:bodyclose // whoever followed the redirect closed it
		resp = &http.Response{StatusCode: first.StatusCode, Header: first.Header, Body: http.NoBody}
	}
	if f := s.judge(resp.StatusCode, resp.Header.Get("Retry-After"), p, a); f != nil {
		return f
	}
	a.ResponseHeaders = captureHeaders(resp.Header)
	// After 101 the connection is no longer HTTP; there is no body.
	if resp.StatusCode == http.StatusSwitchingProtocols {
		a.ResponseBodyPreview = new(string)
		return nil
	}
	s.readBody(resp.Body, p, a)
	return nil
}

// judge puts on the record what the status line means.
func (s *sender) judge(status int, retryAfter string, p *posting, a *DeliveryAttempt) *fault {
	if status < 1 || status > 999 {
		return &fault{CodeProtocolError, fmt.Sprintf("status %d is none", status)}
	}
	p.kept.status = status
	a.StatusCode = &p.kept.status
	a.Status, a.ErrorCode = verdict(status)
	if a.Status == AttemptSucceeded {
		return nil
	}
	if wait, ok := parseRetryAfter(retryAfter, p.at(time.Since(p.began))); ok {
		p.kept.retryAfterMS = wait.Milliseconds()
		a.RetryAfterMS = &p.kept.retryAfterMS
	}
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
func (s *sender) readBody(body io.Reader, p *posting, a *DeliveryAttempt) {
	limit := max(s.previewBytes, 0)
	buf := previewBuffers.Get().(*[]byte)
	defer previewBuffers.Put(buf)
	if cap(*buf) < limit+1 {
		*buf = make([]byte, limit+1)
	}
	b := (*buf)[:limit+1]
	a.ResponseBodyPreview = &p.kept.preview // "", should the body panic
	n, ended, _ := readUpTo(body, b)
	p.completed.set(&p.exchange)
	whole := ended && n <= limit
	preview, cut := cleanText(b[:min(n, limit)], limit, !whole)
	p.kept.preview, a.ResponseBodyTruncated = preview, cut || !whole
	if n == len(b) && !ended {
		p.hurry(drainTime)
		_, _ = io.CopyN(io.Discard, body, drainBytes)
	}
}

func (s *sender) logPanic(a *DeliveryAttempt, v any) {
	s.log.Error("webhook: panic in a client, signer or authenticator",
		"delivery", a.DeliveryID, "endpoint", a.EndpointID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// micros is the precision in which instants are recorded.
func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
