package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook/internal/http1"
)

// ClientConfig configures a [Client]. The zero value is the safe default.
type ClientConfig struct {
	// AllowPrivate are exceptions from the address guard, for all endpoints. Default: none.
	AllowPrivate []netip.Prefix
	// Ports are the only ports that may be dialled. Default: any.
	Ports []uint16
	// RootCAs are the authorities that servers' certificates must come from. Default: the system's.
	RootCAs *x509.CertPool
	// Proxy is an egress proxy: http, https (both by CONNECT, for http targets too), socks5 or socks5h,
	// with user information if it wants some. It resolves the names itself, so the guard sees only
	// targets that are IP literals: private addresses are the proxy's to refuse. Default: none, and
	// none is taken from the environment.
	Proxy *url.URL
	// Resolver looks up hosts. Default: net.DefaultResolver.
	Resolver *net.Resolver
	// MaxResponseHeaderBytes bounds a response's status line and headers, 1xx responses included.
	// Default: 64 KiB.
	MaxResponseHeaderBytes int64
	// MaxIdlePerHost bounds the connections kept for one host and port. Default: 64; negative: none.
	MaxIdlePerHost int
	// MaxConnAge is how long a connection may be used for new requests. Default: 5 min.
	MaxConnAge time.Duration
}

// Client is the default [HTTPClient]. Every address that it dials has passed a [Guard], after DNS. It
// uses TLS 1.2 or later, follows no redirect, decompresses nothing, takes no proxy from the
// environment, and makes one request of one call. The one exception: a kept connection that breaks
// before the first byte of a response was most likely closed while the request was under way, and the
// request is repeated at once, and once, on a fresh connection.
//
// It speaks HTTP/1.1 itself, by the same rules as net/http but without its goroutines, and HTTP/2 by way
// of net/http where a server prefers that. Unlike net/http it knows no upgrade after status 101, and looks
// at a kept connection before it uses it, so that one which was closed is not tried.
//
// Requests of endpoints with their own Endpoint.AllowPrivate or ClientCert never share a connection
// with others. A Client is safe for concurrent use.
type Client struct {
	guard    *Guard
	roots    *x509.CertPool
	proxy    *url.URL
	resolver *net.Resolver
	http2    *http.Transport // speaks HTTP/2 on connections that connect made
	limit    int             // MaxResponseHeaderBytes
	pool     *connPool
}

// NewClient returns a client. An error is an [ErrInvalid] and names the setting.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Client{
		guard: newGuard(cfg.Ports, cfg.AllowPrivate), roots: cfg.RootCAs, proxy: cfg.Proxy, resolver: cfg.Resolver,
		pool: newConnPool(orDefault(cfg.MaxIdlePerHost, 64), orDefault(cfg.MaxConnAge, 5*time.Minute)),
	}
	c.limit = int(orDefault(cfg.MaxResponseHeaderBytes, 64<<10))
	c.http2 = &http.Transport{
		DialTLSContext: madeConn, DisableCompression: true, MaxResponseHeaderBytes: int64(c.limit),
		Protocols: new(http.Protocols),
		// What a server may push at us before anybody reads it: net/http's own defaults are 4 MiB
		// and 1 GiB.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20},
	}
	c.http2.Protocols.SetHTTP2(true)
	return c, nil
}

func (cfg *ClientConfig) check() error {
	if cfg.MaxResponseHeaderBytes < 0 {
		return invalid("ClientConfig.MaxResponseHeaderBytes", "must not be negative")
	}
	if cfg.MaxConnAge < 0 {
		return invalid("ClientConfig.MaxConnAge", "must not be negative")
	}
	if slices.Contains(cfg.Ports, 0) {
		return invalid("ClientConfig.Ports", "must not hold port 0")
	}
	if cfg.Proxy == nil {
		return nil
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, cfg.Proxy.Scheme) {
		return invalid("ClientConfig.Proxy", "must have scheme http, https, socks5 or socks5h")
	}
	if cfg.Proxy.Hostname() == "" {
		return invalid("ClientConfig.Proxy", "must have a host")
	}
	return nil
}

// orDefault returns v, or the default for the zero value.
func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Do makes the request. The caller must close the response's body. Unlike http.Client it returns
// errors as they are, without the URL. Of httptrace's hooks it calls those for DNS, connections, TLS,
// the written request and the first byte. A response with status 101 has no body.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	p, err := c.plan(r)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	out := p.out.(*asked)
	conn, resp, err := c.exchange(p)
	if err != nil {
		out.close()
		if cause := context.Cause(r.Context()); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	if resp == nil {
		return c.response(conn, r, out.cancel), nil
	}
	resp.Request = r
	c.untilClosed(resp, conn, out.cancel)
	return resp, nil
}

// CloseIdleConnections closes the connections that are kept for later requests.
func (c *Client) CloseIdleConnections() { c.pool.closeIdle() }

// plan is one request on its way.
type plan struct {
	key   keyHandle
	rules *connRules
	x     *exchange
	out   outgoing

	ctx      context.Context // whose end interrupts
	deadline time.Time       // zero: that of ctx
	progress http1.Progress
	toHEAD   bool
}

// outgoing is a request in the form that a connection wants.
type outgoing interface {
	send(*http1.Conn) error
	request() (*http.Request, error) // for HTTP/2
	context() context.Context        // for dialling: ends with ctx and at the deadline, and reports to x
	repeatable() bool
}

// exchange makes the request and returns the response's header: with HTTP/1.1 on the connection, which
// is the caller's alone until release.
func (c *Client) exchange(p *plan) (*pooledConn, *http.Response, error) {
	for now := p.x.began; ; {
		conn := c.pool.get(p.key, now)
		if conn == nil {
			break
		}
		resp, err := c.try(conn, p, true)
		switch {
		case err == nil:
			return conn, resp, nil
		case errors.Is(err, http1.ErrNotSent):
			continue // it was closed while it was idle
		case !p.stale(conn, err):
			return nil, nil, err
		}
		p.x.resends.Add(1)
		break
	}
	conn, err := c.connect(p)
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.try(conn, p, false)
	return conn, resp, err
}

// stale reports whether a kept connection broke before any answer, and the request can be repeated.
func (p *plan) stale(conn *pooledConn, err error) bool {
	answered := conn.h1 != nil && conn.h1.Answered()
	if conn.h2 != nil {
		_, answered = p.x.firstByte.get()
	}
	if answered || p.ctx.Err() != nil || !p.out.repeatable() {
		return false
	}
	code := classify(err)
	return code == CodeSocketClosed || code == CodeConnectionReset
}

// try makes the request on that connection, which is the caller's alone to use or, with HTTP/2, has
// room reserved for it. Whatever fails does not go back to the pool.
func (c *Client) try(conn *pooledConn, p *plan, reused bool) (*http.Response, error) {
	if conn.h2 != nil {
		return c.tryShared(conn, p, reused)
	}
	err := conn.h1.Begin(p.ctx, p.deadline, p.progress)
	if err == nil {
		p.gotConn(conn, reused)
		err = p.out.send(conn.h1)
	}
	if err == nil {
		_, err = conn.h1.ReadHead(p.toHEAD)
	}
	if err != nil {
		conn.h1.Finish()
		conn.h1.Close()
		err = explainEOF(err, conn.h1.Answered())
	}
	return nil, err
}

// explainEOF says where a receiver hung up.
func explainEOF(err error, answered bool) error {
	switch {
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	case answered:
		return fmt.Errorf("connection closed within the response's header: %w", err)
	}
	return fmt.Errorf("connection closed without a response: %w", err)
}

func (p *plan) gotConn(conn *pooledConn, reused bool) {
	p.x.connected.set(p.x)
	p.x.remote.Store(&conn.remote)
	if t, ok := p.progress.(*tracing); ok && t.trace.GotConn != nil {
		t.trace.GotConn(httptrace.GotConnInfo{Conn: conn.raw, Reused: reused, WasIdle: reused})
	}
}

// release takes back a connection whose response was read, or not.
func (c *Client) release(conn *pooledConn, forget bool) {
	if forget {
		conn.h1.Forget()
	}
	if conn.h1.Finish() {
		c.pool.put(conn)
	} else {
		conn.h1.Close()
	}
}

func (c *Client) tryShared(conn *pooledConn, p *plan, reused bool) (*http.Response, error) {
	r, err := p.out.request()
	if err != nil {
		conn.h2.Release()
		c.pool.put(conn)
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: conn.raw, Reused: reused})
	}
	resp, err := conn.h2.RoundTrip(r)
	if err != nil {
		c.pool.failed(conn)
	}
	return resp, err
}

// untilClosed makes the end of a response's body the end of its request on an HTTP/2 connection.
func (c *Client) untilClosed(resp *http.Response, conn *pooledConn, cancel context.CancelFunc) {
	if resp.Body == http.NoBody {
		c.pool.put(conn)
		cancel()
		return
	}
	resp.Body = &sharedBody{ReadCloser: resp.Body, end: func() {
		c.pool.put(conn)
		cancel()
	}}
}

type sharedBody struct {
	io.ReadCloser
	once sync.Once
	end  func()
}

func (b *sharedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.end)
	return err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// tlsConfig has no session cache: a resumed session would carry one endpoint's certificate to the
// next.
func (c *Client) tlsConfig(host string, rules *connRules, protocols ...string) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: c.roots, ServerName: host, NextProtos: protocols,
		DynamicRecordSizingDisabled: true, // a request is read whole: one record, one write
	}
	if rules != nil && rules.cert != nil {
		cfg.Certificates = []tls.Certificate{*rules.cert}
	}
	return cfg
}

// rootStoreWarning says, for Dispatcher.Check, that certificates cannot be verified on this host; ""
// if they can.
func (c *Client) rootStoreWarning() string { return rootStoreWarning(c.roots, x509.SystemCertPool) }

func rootStoreWarning(roots *x509.CertPool, system func() (*x509.CertPool, error)) string {
	if roots != nil {
		if roots.Equal(x509.NewCertPool()) {
			return "ClientConfig.RootCAs is empty: every HTTPS endpoint will fail"
		}
		return ""
	}
	pool, err := system()
	if err == nil && !pool.Equal(x509.NewCertPool()) {
		return ""
	}
	return "this host has no root certificates: every HTTPS endpoint will fail; " +
		"install them (in a container, the ca-certificates package) or set ClientConfig.RootCAs"
}
