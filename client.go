package webhook

import (
	"bytes"
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
	"strconv"
	"strings"
	"sync"
	"time"
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
// Requests of endpoints with their own Endpoint.AllowPrivate or ClientCert never share a connection
// with others. A Client is safe for concurrent use.
type Client struct {
	guard    *Guard
	roots    *x509.CertPool
	proxy    *url.URL
	resolver *net.Resolver
	http     *http.Transport // makes connections by way of dial and dialTLS; its own pool is not used
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
	headerLimit := orDefault(cfg.MaxResponseHeaderBytes, 64<<10)
	c.http = &http.Transport{
		DialContext: c.dial, DialTLSContext: c.dialTLS,
		DisableCompression: true, MaxResponseHeaderBytes: headerLimit,
		Protocols: new(http.Protocols),
		// What a server may push at us before anybody reads it: net/http's own defaults are 4 MiB
		// and 1 GiB.
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 1 << 20},
	}
	c.http.Protocols.SetHTTP1(true)
	c.http.Protocols.SetHTTP2(true)
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
// errors as they are, without the URL.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	p, err := c.plan(r)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	if conn := c.pool.get(p.key); conn != nil {
		resp, err := c.roundTrip(conn, p, true)
		if err == nil || !p.stale(err) {
			return resp, err
		}
		p.x.resends.Add(1)
	}
	conn, err := c.connect(p)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	resp, err := c.roundTrip(conn, p, false)
	return resp, err
}

// CloseIdleConnections closes the connections that are kept for later requests.
func (c *Client) CloseIdleConnections() { c.pool.closeIdle() }

// plan is one request on its way.
type plan struct {
	r     *http.Request
	key   connKey
	rules *connRules
	x     *exchange
	sent  bool // its body was handed to a connection
}

func (c *Client) plan(r *http.Request) (*plan, error) {
	if r.URL == nil || r.URL.Scheme != "http" && r.URL.Scheme != "https" || r.URL.Hostname() == "" {
		return nil, errors.New("webhook: request without an http or https URL with a host")
	}
	host, port := r.URL.Hostname(), portOf(r.URL)
	p := &plan{r: r, rules: new(connRules), x: exchangeOf(r.Context())}
	switch {
	case p.x == nil:
		p.x = newExchange(time.Now(), &target{})
		p.r = r.WithContext(p.x.attach(r.Context()))
	case p.x.host == r.URL.Host:
		p.rules = p.x.rules
	}
	if c.proxy != nil {
		if err := c.guard.with(p.rules.allow).checkHost(host, port); err != nil {
			return nil, err
		}
	}
	addr := net.JoinHostPort(strings.ToLower(host), strconv.Itoa(int(port)))
	p.key = connKey{scheme: r.URL.Scheme, addr: addr, rules: p.rules.key}
	return p, nil
}

// stale reports whether a kept connection broke before any answer, and the request can be repeated.
func (p *plan) stale(err error) bool {
	if _, answered := p.x.firstByte.get(); answered || p.r.Context().Err() != nil || !p.repeatable() {
		return false
	}
	code := classify(err)
	return code == CodeSocketClosed || code == CodeConnectionReset
}

func (p *plan) repeatable() bool {
	return p.r.Body == nil || p.r.Body == http.NoBody || p.x.body != nil || p.r.GetBody != nil
}

// request returns the request for one connection.
func (p *plan) request() (*http.Request, error) {
	r := *p.r
	r.GetBody = nil // so that net/http could not re-send even if it wanted to
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if p.sent && r.Body != nil && r.Body != http.NoBody {
		if p.x.body != nil {
			r.Body = io.NopCloser(bytes.NewReader(p.x.body))
		} else {
			body, err := p.r.GetBody()
			if err != nil {
				return nil, fmt.Errorf("webhook: body for a re-send: %w", err)
			}
			r.Body = body
		}
	}
	p.sent = true
	return &r, nil
}

// roundTrip makes the request on that connection, which is the caller's alone to use or, with HTTP/2,
// has room reserved for it.
func (c *Client) roundTrip(conn *pooledConn, p *plan, reused bool) (*http.Response, error) {
	r, err := p.request()
	if err != nil {
		conn.Release()
		c.pool.put(conn)
		return nil, err
	}
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{Conn: conn.raw, Reused: reused})
	}
	resp, err := conn.RoundTrip(r)
	if err != nil {
		c.pool.failed(conn)
		return nil, readable(err)
	}
	resp.Request = p.r
	if resp.Body == http.NoBody {
		c.pool.put(conn)
		return resp, nil
	}
	resp.Body = &pooledBody{ReadCloser: resp.Body, pool: c.pool, conn: conn}
	return resp, nil
}

var errSpokeFirst = errors.New("webhook: the receiver spoke before it was asked")

// readable replaces what net/http says of an unsolicited answer, which names its own functions.
func readable(err error) error {
	if strings.HasPrefix(err.Error(), "readLoopPeekFailLocked: %!w") {
		return errSpokeFirst
	}
	return err
}

// pooledBody gives its connection back when it is closed.
type pooledBody struct {
	io.ReadCloser
	pool *connPool
	conn *pooledConn
	once sync.Once
}

func (b *pooledBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.pool.put(b.conn) })
	return err
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// connect makes a connection for the plan and reserves its first request.
func (c *Client) connect(p *plan) (*pooledConn, error) {
	d := &dialling{rules: p.rules}
	conn, err := c.http.NewClientConn(context.WithValue(p.r.Context(), diallingKey{}, d), p.key.scheme, p.key.addr)
	if err != nil {
		return nil, err
	}
	return c.pool.add(conn, d.conn, p.key)
}

// tlsConfig has no session cache: a resumed session would carry one endpoint's certificate to the
// next.
func (c *Client) tlsConfig(host string, rules *connRules, protocols ...string) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.roots, ServerName: host, NextProtos: protocols}
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
