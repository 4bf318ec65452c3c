package webhook

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/hostile"
)

func TestNoProxyFromTheEnvironment(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	lab := hostile.New(t)
	u, err := url.Parse(lab.StartNamed("status-200").URL)
	require.NoError(t, err)
	// A name, since net/http never asks a proxy for loopback addresses.
	a := try(newTestSender(labClient(t, lab)), Endpoint{URL: "http://any.test:" + u.Port()})
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
}

func TestProxyCarriesBothSchemesAndResolves(t *testing.T) {
	lab := hostile.New(t)
	for _, scheme := range []string{"http", "socks5", "socks5h"} {
		proxy := lab.StartProxy(scheme, hostile.ProxyWorks, nil)
		s := newTestSender(labClient(t, lab, func(cfg *ClientConfig) {
			cfg.Proxy = proxy.URL(scheme)
			cfg.AllowPrivate = []netip.Prefix{} // the proxy's own address is not the guard's business
		}))
		for _, mode := range []string{"status-200", "tls"} {
			u, err := url.Parse(lab.StartNamed(mode).URL)
			require.NoError(t, err)
			u.Host = net.JoinHostPort("tls.test", u.Port())
			a := try(s, Endpoint{URL: u.String()})
			require.Equal(t, AttemptSucceeded, a.Status, "%s over %s: %s", mode, scheme, a.Error)
			require.Equal(t, u.Host, <-proxy.Targets)
			require.Equal(t, proxy.Addr(), a.RemoteAddr)
		}
		a := try(s, Endpoint{URL: "http://127.0.0.1:80"})
		require.Equal(t, CodeBlockedAddress, a.ErrorCode, "a literal is judged without DNS")
		a = try(s, Endpoint{URL: "http://localhost:80"})
		require.Equal(t, CodeBlockedAddress, a.ErrorCode)
	}
}

func TestTLSProxy(t *testing.T) {
	lab := hostile.New(t)
	u, err := url.Parse(lab.StartNamed("status-200").URL)
	require.NoError(t, err)
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := net.Dial("tcp", u.Host)
		if err != nil {
			return
		}
		down, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, down); up.Close() }()
		_, _ = io.Copy(down, up)
		down.Close()
	}))
	proxy.StartTLS()
	defer proxy.Close()
	roots := lab.Roots.Clone()
	roots.AddCert(proxy.Certificate())
	client := newTestClient(t, ClientConfig{RootCAs: roots, Proxy: mustParse(t, proxy.URL)})
	a := try(newTestSender(client), Endpoint{URL: "http://tls.test"})
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)

	distrusting := newTestClient(t, ClientConfig{RootCAs: lab.Roots, Proxy: mustParse(t, proxy.URL)})
	a = try(newTestSender(distrusting), Endpoint{URL: "http://tls.test"})
	require.Equal(t, CodeProxyError, a.ErrorCode, a.Error)
}
