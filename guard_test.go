package webhook_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"code.dny.dev/ssrf"
	"github.com/stretchr/testify/require"

	webhook "github.com/outhook/webhook"
)

func TestGuardBlocksWhatIsNotPublic(t *testing.T) {
	guard := webhook.NewGuard()
	for _, addr := range []string{
		"0.0.0.0:80", "0.1.2.3:80", "10.0.0.1:80", "100.64.0.1:80", "127.0.0.1:80", "127.255.255.254:80", "169.254.169.254:80",
		"172.16.0.1:80", "172.31.255.255:80", "192.0.0.8:80", "192.0.2.1:80", "192.88.99.1:80", "192.168.1.1:80", "198.18.0.1:80",
		"198.51.100.1:80", "203.0.113.1:80", "224.0.0.1:80", "240.0.0.1:80", "255.255.255.255:80",
		"[::]:80", "[::1]:80", "[fe80::1]:80", "[fc00::1]:80", "[fd00:ec2::254]:80", "[ff02::1]:80", "[fec0::1]:80",
		"[::ffff:127.0.0.1]:80", "[::ffff:10.0.0.1]:80", "[::127.0.0.1]:80", // mapped, compatible
		"[64:ff9b::7f00:1]:80", "[64:ff9b::808:808]:80", "[64:ff9b:1::1]:80", // NAT64, also of a public address
		"[2002:7f00:1::]:80", "[2001::1]:80", // 6to4, Teredo
		"[2001:db8::1]:80", "[3fff::1]:80", "[100::1]:80", "[5f00::1]:80", "[4000::1]:80",
		"[fe80::1%eth0]:80", "[2606:4700::1%eth0]:80", "[::ffff:8.8.8.8%eth0]:80", // zones, whatever the address
	} {
		require.ErrorIs(t, guard.Check("tcp", addr), webhook.ErrBlockedAddress, addr)
	}
}

func TestGuardRefusesWhatItCannotJudge(t *testing.T) {
	guard := webhook.NewGuard(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	for _, addr := range []string{
		"example.com:80", "localhost:80", "2130706433:80", "0x7f.1:80", "0177.0.0.1:80", "127.1:80", "127.0.0.1.:80",
		"127.0.0.1", "", ":80", "１２７.0.0.1:80", "[::1]", "1.1.1.1:http",
	} {
		require.ErrorIs(t, guard.Check("tcp", addr), webhook.ErrBlockedAddress, addr)
	}
	for _, network := range []string{"udp", "unix", "ip4:icmp", ""} {
		require.ErrorIs(t, guard.Check(network, "1.1.1.1:80"), webhook.ErrBlockedAddress, network)
	}
}

func TestGuardLetsPublicAddressesThrough(t *testing.T) {
	guard := webhook.NewGuard()
	for _, addr := range []string{"1.1.1.1:80", "8.8.8.8:65535", "[2606:4700:4700::1111]:443", "[::ffff:8.8.8.8]:443"} {
		require.NoError(t, guard.Check("tcp", addr), addr)
		require.NoError(t, guard.Check("tcp6", addr), addr)
	}
}

func TestGuardExceptions(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, c := range []struct {
		allow   netip.Prefix
		addr    string
		allowed bool
	}{
		{prefix("10.1.0.0/16"), "10.1.2.3:80", true},
		{prefix("10.1.0.0/16"), "10.2.0.1:80", false},
		{prefix("10.1.0.0/16"), "[::ffff:10.1.2.3]:80", true},
		{prefix("::ffff:10.1.0.0/112"), "10.1.2.3:80", true},
		{prefix("10.1.2.3/16"), "10.1.9.9:80", true}, // host bits set by mistake
		{prefix("fd00::/8"), "[fd00::1]:80", true},
		{prefix("fd00::/8"), "[fd00::1%eth0]:80", false},
		{prefix("64:ff9b::/96"), "[64:ff9b::808:808]:80", true},
		{prefix("64:ff9b::/96"), "[64:ff9b::7f00:1]:80", false},
		{netip.Prefix{}, "10.0.0.1:80", false},
	} {
		err := webhook.NewGuard(c.allow).Check("tcp", c.addr)
		require.Equal(t, c.allowed, err == nil, "%s with %s: %v", c.addr, c.allow, err)
	}
}

// The registry that we rely on is held against every address at the edges of its own prefixes.
func TestGuardKnowsTheRegistry(t *testing.T) {
	guard := webhook.NewGuard()
	for _, p := range append(ssrf.IPv4DeniedPrefixes, ssrf.IPv6DeniedPrefixes...) {
		require.Error(t, guard.Check("tcp", netip.AddrPortFrom(p.Addr(), 80).String()), p)
	}
}

func TestGuardUnderAClientOfOnesOwn(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	get := func(g *webhook.Guard) error {
		dialer := &net.Dialer{Control: g.Control}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
		r, _ := http.NewRequestWithContext(context.Background(), "GET", server.URL, nil)
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	require.ErrorIs(t, get(webhook.NewGuard()), webhook.ErrBlockedAddress)
	require.NoError(t, get(webhook.NewGuard(webhook.Loopback...)))
}

func TestNewClientRefusesWhatCannotBeMeant(t *testing.T) {
	for name, cfg := range map[string]webhook.ClientConfig{
		"proxy scheme": {Proxy: mustURL("ftp://proxy")}, "proxy host": {Proxy: mustURL("http://")},
		"port": {Ports: []uint16{0}}, "age": {MaxConnAge: -1}, "headers": {MaxResponseHeaderBytes: -1},
	} {
		_, err := webhook.NewClient(cfg)
		require.ErrorIs(t, err, webhook.ErrInvalid, name)
	}
}

func mustURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	return u
}

func ExampleNewGuard() {
	guard := webhook.NewGuard(netip.MustParsePrefix("10.1.0.0/16"))
	fmt.Println(guard.Check("tcp", "1.1.1.1:443"))
	fmt.Println(guard.Check("tcp", "10.1.2.3:8080"))
	fmt.Println(guard.Check("tcp", "[::ffff:169.254.169.254]:80"))
	// Output:
	// <nil>
	// <nil>
	// webhook: blocked address: 169.254.169.254 is not public; allow it by Endpoint.AllowPrivate or ClientConfig.AllowPrivate
}
