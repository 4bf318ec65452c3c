package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/outhook/webhook/internal/http1"
)

// plan makes a plan of a request that somebody gave to Do.
func (c *Client) plan(r *http.Request) (*plan, error) {
	if err := c.refuse(r); err != nil {
		return nil, err
	}
	ctx := r.Context()
	x, rules := exchangeOf(ctx), new(connRules)
	switch {
	case x == nil:
		x = newExchange(time.Now(), &target{})
		ctx = x.attach(ctx)
	case x.host == r.URL.Host:
		rules = x.rules
	}
	if err := c.refuseHost(r.URL, rules); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	return &plan{
		key: keyOf(r.URL, rules), rules: rules, x: x, ctx: ctx, toHEAD: r.Method == http.MethodHead,
		out:      &asked{r: r.WithContext(ctx), x: x, cancel: cancel},
		progress: &tracing{x, httptrace.ContextClientTrace(ctx)},
	}, nil
}

// refuse says what net/http would say of a request that cannot be sent.
func (c *Client) refuse(r *http.Request) error {
	if r.URL == nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" || r.URL.Hostname() == "" {
		return errors.New("webhook: request without an http or https URL with a host")
	}
	if r.Method != "" && !validHeaderName(r.Method) {
		return fmt.Errorf("webhook: invalid method %q", r.Method)
	}
	for _, h := range []http.Header{r.Header, r.Trailer} {
		if name, found := invalidHeader(h); found {
			return fmt.Errorf("webhook: header or trailer %q has a character that HTTP does not allow", name)
		}
	}
	return nil
}

// planPosting makes a plan of an attempt's request.
func (c *Client) planPosting(p *posting) error {
	if err := c.refuseHost(p.target.url, p.rules); err != nil {
		return err
	}
	p.plan = plan{
		key: p.target.key, rules: p.rules, x: &p.exchange, out: p,
		ctx: p.parent, deadline: p.deadline, progress: &p.exchange,
	}
	return nil
}

// refuseHost refuses, where a proxy will do the dialling, what is known to be private.
func (c *Client) refuseHost(u *url.URL, rules *connRules) error {
	if c.proxy == nil {
		return nil
	}
	return c.guard.with(rules.allow).checkHost(u.Hostname(), portOf(u))
}

func keyOf(u *url.URL, rules *connRules) keyHandle {
	addr := net.JoinHostPort(strings.ToLower(u.Hostname()), strconv.Itoa(int(portOf(u))))
	return unique.Make(connKey{scheme: u.Scheme, addr: addr, rules: rules.key})
}

// tracing is told of an exchange's progress and passes it on.
type tracing struct {
	x     *exchange
	trace *httptrace.ClientTrace
}

func (t *tracing) Wrote() {
	t.x.Wrote()
	if t.trace.WroteRequest != nil {
		t.trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
}

func (t *tracing) FirstByte() {
	t.x.FirstByte()
	if t.trace.GotFirstResponseByte != nil {
		t.trace.GotFirstResponseByte()
	}
}

// asked is a request that was given to Do. Its body is read once for each time that it is sent.
type asked struct {
	r      *http.Request
	x      *exchange
	cancel context.CancelFunc
	sent   bool
}

func (a *asked) context() context.Context { return a.r.Context() }

func (a *asked) bodyless() bool { return a.r.Body == nil || a.r.Body == http.NoBody }

func (a *asked) repeatable() bool { return a.bodyless() || a.x.body != nil || a.r.GetBody != nil }

// close is for requests that came to nothing; a body may be closed more than once.
func (a *asked) close() {
	a.cancel()
	closeBody(a.r)
}

// request returns the request for one connection.
func (a *asked) request() (*http.Request, error) {
	r := *a.r
	r.GetBody = nil // so that net/http could not re-send even if it wanted to
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if a.sent && !a.bodyless() {
		if a.x.body != nil {
			r.Body = io.NopCloser(bytes.NewReader(a.x.body))
		} else {
			body, err := a.r.GetBody()
			if err != nil {
				return nil, fmt.Errorf("webhook: body for a re-send: %w", err)
			}
			r.Body = body
		}
	}
	a.sent = true
	return &r, nil
}

// send lets net/http write the request. A small one whose body is at hand is written at once.
func (a *asked) send(conn *http1.Conn) error {
	// Where the connection turns out to be of no use nothing may have been read from the body.
	first := !a.sent
	r, err := a.request()
	if err != nil {
		return err
	}
	r = r.WithContext(context.Background()) // its trace would take the buffer for the connection
	if !a.atHand() {
		err := conn.Stream(r.Write)
		if err != nil && first {
			a.sent = false
		} else if err != nil {
			closeBody(r)
		}
		return err
	}
	var b bytes.Buffer
	if err := r.Write(&b); err != nil {
		return err
	}
	if http1.Fits(b.Len()) {
		return conn.Send(b.Bytes())
	}
	return conn.Stream(func(w io.Writer) error {
		_, err := w.Write(b.Bytes())
		return err
	})
}

// atHand reports whether reading the body needs no waiting.
func (a *asked) atHand() bool {
	const small = 8 << 10
	return a.bodyless() || a.r.ContentLength > 0 && a.r.ContentLength <= small && a.repeatable()
}

// response makes net/http's form of what was read.
func (c *Client) response(conn *pooledConn, r *http.Request, cancel context.CancelFunc) *http.Response {
	h := conn.h1.Head()
	resp := &http.Response{
		Status: h.Status, StatusCode: h.Code, Proto: h.Proto, ProtoMajor: h.Major, ProtoMinor: h.Minor,
		Header: make(http.Header, len(h.Fields)), ContentLength: h.ContentLength, Close: h.Close,
		Body: http.NoBody, Request: r, TLS: conn.secure,
	}
	for _, f := range h.Fields {
		resp.Header[f.Name] = append(resp.Header[f.Name], f.Value)
	}
	if h.Chunked {
		resp.TransferEncoding = []string{"chunked"}
	}
	for _, name := range h.Trailers {
		if resp.Trailer == nil {
			resp.Trailer = http.Header{}
		}
		resp.Trailer[name] = nil
	}
	if !conn.h1.HasBody() {
		c.release(conn, true)
		cancel()
		return resp
	}
	resp.Body = &ownBody{client: c, conn: conn, resp: resp, cancel: cancel}
	return resp
}

// ownBody is the body of a response over HTTP/1.1. It gives its connection back at its end.
type ownBody struct {
	client *Client
	resp   *http.Response
	cancel context.CancelFunc

	mu   sync.Mutex
	conn *pooledConn // nil: given back
	err  error       // what Read says from now on
}

func (b *ownBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return 0, b.err
	}
	n, err := b.conn.h1.Read(p)
	if err == nil {
		return n, nil
	}
	for _, f := range b.conn.h1.Trailer() {
		if b.resp.Trailer == nil {
			b.resp.Trailer = http.Header{}
		}
		b.resp.Trailer[f.Name] = append(b.resp.Trailer[f.Name], f.Value)
	}
	if cause := context.Cause(b.resp.Request.Context()); cause != nil && !errors.Is(err, io.EOF) {
		err = cause
	}
	b.end(err)
	return n, err
}

func (b *ownBody) end(err error) {
	b.client.release(b.conn, true)
	b.cancel()
	b.conn, b.err = nil, err
}

// Close does not wait for a Read that is under way: it breaks it off.
func (b *ownBody) Close() error {
	if !b.mu.TryLock() {
		b.cancel()
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	if b.conn != nil {
		b.end(http.ErrBodyReadAfterClose)
	}
	b.err = http.ErrBodyReadAfterClose
	return nil
}
