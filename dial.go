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
	"net/url"
	"strings"
	"time"
)

// dialling goes in the context of net/http's dial: it brings the rules and brings back the
// connection.
type dialling struct {
	rules *connRules
	conn  net.Conn
}

type diallingKey struct{}

// dial connects to addr, through the proxy if there is one.
func (c *Client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d, _ := ctx.Value(diallingKey{}).(*dialling)
	if d == nil {
		return nil, errors.New("webhook: dial without rules")
	}
	conn, err := c.dialTarget(ctx, network, addr, d.rules)
	if err == nil {
		d.conn = conn
	}
	return conn, err
}

// dialTLS returns a connection whose handshake net/http makes, which also reports its progress.
func (c *Client) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		conn.Close()
		return nil, err
	}
	d := ctx.Value(diallingKey{}).(*dialling)
	return tls.Client(conn, c.tlsConfig(host, d.rules, "h2", "http/1.1")), nil
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
	resp, err := http.ReadResponse(answer, r)
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
