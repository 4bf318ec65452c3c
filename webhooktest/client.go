package webhooktest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// ErrTimeout is a network time-out, for Answer.Err: a net.Error whose Timeout is true.
var ErrTimeout error = &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}

var errReset error = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}

// Client is a webhook.HTTPClient without sockets and goroutines: it answers in the goroutine that
// calls Do, by the clock of the synctest bubble that it is used in. The zero value answers 200 to
// everything. It is safe for concurrent use.
type Client struct {
	// Secrets verify signatures (whsec_ or whpk_). A bad one is answered with 401 and kept in
	// Request.Err. Empty: signatures are not looked at. Set it before the first request.
	Secrets []string
	// Timeout is how long Next and Wait wait. Default: 14 days, of the bubble's clock: a retry schedule
	// passes in no time. Set it when you use a Client outside a bubble.
	Timeout time.Duration

	script   script
	mu       sync.Mutex
	routes   []*Route // guarded by mu
	turn     sync.Mutex
	journal  journal
	released gate
}

// Script answers the next requests with these statuses, wherever they go; see Answer.
func (c *Client) Script(status ...int) { c.script.addStatuses(status) }

// Answer answers the next requests with these, each once.
func (c *Client) Answer(answers ...Answer) { c.script.add(answers...) }

// Respond answers what comes after the script, in place of 200. It is called in the goroutine that
// calls Do.
func (c *Client) Respond(respond func(Request) Answer) { c.script.setRespond(respond) }

// Release ends the waiting of every request that has arrived and hangs.
func (c *Client) Release() { c.released.release() }

// On returns a script of its own for requests whose URL begins with prefix, such as
// "https://a.example/". The longest prefix that fits counts; what fits none goes by the Client's own
// script. The same prefix gets the same Route.
func (c *Client) On(prefix string) *Route {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routes {
		if r.prefix == prefix {
			return r
		}
	}
	r := &Route{prefix: prefix}
	c.routes = append(c.routes, r)
	return r
}

// Route is the script for a part of all URLs. See [Client.On].
type Route struct {
	prefix string
	script script
}

// Script answers the next requests with these statuses, then 200.
func (r *Route) Script(status ...int) { r.script.addStatuses(status) }

// Answer answers the next requests with these, each once.
func (r *Route) Answer(answers ...Answer) { r.script.add(answers...) }

// Respond answers what comes after the script, in place of 200.
func (r *Route) Respond(respond func(Request) Answer) { r.script.setRespond(respond) }

// Requests returns all requests up to now, in the order of arrival.
func (c *Client) Requests() []Request { return c.journal.all() }

// Count returns how many requests have arrived.
func (c *Client) Count() int { return c.journal.count() }

// Next waits for the next request, in the order of arrival: each is returned once. It fails the test
// if none comes within Timeout.
func (c *Client) Next(t testing.TB) Request {
	t.Helper()
	return c.journal.next(t, c.timeout(), clientHint)
}

// Wait waits until n requests have arrived since the beginning and returns all there are. It fails the
// test if that takes longer than Timeout.
func (c *Client) Wait(t testing.TB, n int) []Request {
	t.Helper()
	return c.journal.wait(t, n, c.timeout(), clientHint)
}

const clientHint = "Is the dispatcher running with this client as Config.HTTPClient, and is there an endpoint?"

func (c *Client) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return 14 * 24 * time.Hour
}

// Do answers as scripted. Errors come as from http.Client, inside a *url.Error.
func (c *Client) Do(hr *http.Request) (*http.Response, error) {
	response, err := c.do(hr)
	if err != nil {
		method := cmp.Or(hr.Method, http.MethodGet)
		return nil, &url.Error{Op: method[:1] + strings.ToLower(method[1:]), URL: hr.URL.Redacted(), Err: err}
	}
	return response, nil
}

func (c *Client) do(hr *http.Request) (*http.Response, error) {
	body, err := readBody(hr)
	if err != nil {
		return nil, err
	}
	request := Request{
		ID: hr.Header.Get(webhook.HeaderID), Method: hr.Method, URL: hr.URL.String(),
		Header: hr.Header.Clone(), Body: body, At: time.Now(),
	}
	if len(c.Secrets) > 0 {
		request.Err = webhook.Verify(body, hr.Header, c.Secrets...)
	}
	released := c.released.wait() // before anyone hears of the request, so that Release finds it waiting
	request, answer := c.take(request)
	trace := httptrace.ContextClientTrace(hr.Context())
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	a := answer(request)
	if err := a.wait(hr.Context(), released); err != nil {
		return nil, err
	}
	if trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return a.response(hr), nil
}

func readBody(hr *http.Request) ([]byte, error) {
	if hr.URL.Host == "" {
		return nil, errors.New("http: no Host in request URL")
	}
	if err := hr.Context().Err(); err != nil {
		return nil, context.Cause(hr.Context())
	}
	if hr.Body == nil {
		return nil, nil
	}
	defer hr.Body.Close()
	return io.ReadAll(hr.Body)
}

// take keeps the request and finds its answer; the nth request gets the nth.
func (c *Client) take(request Request) (Request, func(Request) Answer) {
	c.turn.Lock()
	defer c.turn.Unlock()
	request = c.journal.add(request)
	if err := request.Err; err != nil {
		return request, func(Request) Answer { return Answer{Status: http.StatusUnauthorized, Body: err.Error()} }
	}
	return request, c.scriptFor(request.URL).next()
}

func (c *Client) scriptFor(url string) *script {
	c.mu.Lock()
	defer c.mu.Unlock()
	best, length := &c.script, -1
	for _, r := range c.routes {
		if strings.HasPrefix(url, r.prefix) && len(r.prefix) > length {
			best, length = &r.script, len(r.prefix)
		}
	}
	return best
}

// wait passes the time before the status line, and returns the error if there is none.
func (a Answer) wait(ctx context.Context, released <-chan struct{}) error {
	if a.Hang {
		select {
		case <-released:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := pause(ctx, a.Delay); err != nil {
		return err
	}
	if a.Err != nil {
		return a.Err
	}
	if a.Reset && a.Status == 0 {
		return errReset
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a Answer) response(hr *http.Request) *http.Response {
	header := a.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	length := int64(len(a.Body))
	if a.Reset {
		length = -1 // more was to come
	} else if header.Get("Content-Length") == "" {
		header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", a.status(), http.StatusText(a.status())), StatusCode: a.status(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, ContentLength: length, Request: hr,
		Body: &answerBody{ctx: hr.Context(), text: a.Body, every: a.BodyDelay, reset: a.Reset},
	}
}

// answerBody is read by one goroutine at a time, as every response body.
type answerBody struct {
	ctx    context.Context
	text   string
	every  time.Duration
	reset  bool
	closed bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.ctx.Err() != nil:
		return 0, context.Cause(b.ctx)
	case b.text == "" && b.reset:
		return 0, errReset
	case b.text == "":
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if b.every > 0 {
		if err := pause(b.ctx, b.every); err != nil {
			return 0, err
		}
		p = p[:1]
	}
	n := copy(p, b.text)
	b.text = b.text[n:]
	return n, nil
}

func (b *answerBody) Close() error {
	b.closed = true
	return nil
}
