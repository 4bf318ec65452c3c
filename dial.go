package webhook

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/outhook/webhook/internal/http1"
)

// connect makes a connection for the plan, with a request reserved on it.
func (c *Client) connect(p *plan) (*pooledConn, error) {
	ctx := p.out.context()
	raw, err := c.dialTarget(ctx, "tcp", p.key.Value().addr, p.rules)
	if err != nil {
		return nil, err
	}
	conn := &pooledConn{raw: raw, remote: raw.RemoteAddr().String(), key: p.key, born: time.Now()}
	if p.key.Value().scheme == "http" {
		wire := http1.NewWire(raw, false)
		conn.h1 = http1.NewConn(wire, wire, c.limit)
		return conn, nil
	}
	wire := http1.NewWire(raw, true)
	secure, err := c.handshake(ctx, wire, p)
	if err != nil {
		go secure.Close()
		return nil, err
	}
	state := secure.ConnectionState()
	conn.secure = &state
	if state.NegotiatedProtocol == "h2" {
		return conn, c.multiplex(conn, secure)
	}
	conn.h1 = http1.NewConn(secure, wire, c.limit)
	return conn, nil
}

func (c *Client) handshake(ctx context.Context, wire *http1.Wire, p *plan) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(p.key.Value().addr)
	if err != nil {
		return tls.Client(wire, nil), err
	}
	secure := tls.Client(wire, c.tlsConfig(host, p.rules, "h2", "http/1.1"))
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.TLSHandshakeStart != nil {
		trace.TLSHandshakeStart()
	}
	err = secure.HandshakeContext(ctx)
	if trace != nil && trace.TLSHandshakeDone != nil {
		trace.TLSHandshakeDone(secure.ConnectionState(), err)
	}
	return secure, err
}

// madeConnKey brings net/http the connection that it is to speak HTTP/2 on.
type madeConnKey struct{}

func madeConn(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, ok := ctx.Value(madeConnKey{}).(net.Conn)
	if !ok {
		return nil, errors.New("webhook: no connection for HTTP/2")
	}
	return conn, nil
}

// multiplex hands the connection to net/http.
func (c *Client) multiplex(conn *pooledConn, secure net.Conn) (err error) {
	ctx := context.WithValue(context.Background(), madeConnKey{}, secure)
	if conn.h2, err = c.http2.NewClientConn(ctx, "https", conn.key.Value().addr); err != nil {
		go secure.Close()
		return err
	}
	if err := conn.h2.Reserve(); err != nil {
		conn.closeShared()
		return fmt.Errorf("webhook: connection closed before its first request: %w", err)
	}
	c.pool.share(conn)
	return nil
}

func (c *Client) dialTarget(ctx context.Context, network, addr string, rules *connRules) (net.Conn, error) {
	if c.proxy == nil {
		dialer := net.Dialer{Resolver: c.resolver, Control: c.guard.with(rules.allow).Control}
		return dialer.DialContext(ctx, network, addr)
	}
	tunnel, op := connectTunnel, "proxyconnect"
	if strings.HasPrefix(c.proxy.Scheme, "socks") {
		tunnel, op = socksTunnel, "socks connect"
	}
	conn, err := c.dialProxy(ctx, network)
	if err == nil {
		err = withContext(ctx, conn, func() error { return tunnel(conn, c.proxy, addr) })
		if err == nil {
			return conn, nil
		}
		conn.Close()
	}
	return nil, &net.OpError{Op: op, Net: network, Err: err}
}

// dialProxy is not guarded: the operator named this address, and egress proxies are mostly private.
func (c *Client) dialProxy(ctx context.Context, network string) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[c.proxy.Scheme]
	host := c.proxy.Hostname()
	dialer := net.Dialer{Resolver: c.resolver}
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(host, orDefault(c.proxy.Port(), port)))
	if err != nil || c.proxy.Scheme != "https" {
		return conn, err
	}
	secure := tls.Client(conn, c.tlsConfig(host, nil))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// withContext runs f, which uses conn, and makes it fail when ctx ends.
func withContext(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// connectTunnel asks an HTTP proxy for a tunnel to addr.
func connectTunnel(conn net.Conn, proxy *url.URL, addr string) error {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(u.Username() + ":" + password))
		r.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	if err := r.Write(conn); err != nil {
		return err
	}
	answer := bufio.NewReader(io.LimitReader(conn, 64<<10))
	resp, err := http.ReadResponse(answer, r) //nolint:bodyclose // what follows it is the tunnel
	if err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("proxy refused the tunnel: status %d", resp.StatusCode)
	}
	// Neither an HTTP nor a TLS server speaks first.
	if answer.Buffered() > 0 {
		return errors.New("proxy sent more than its answer")
	}
	return nil
}
