package hostile_test

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

func TestModesAreToldApart(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range hostile.Modes() {
		require.False(t, seen[m.Name], m.Name)
		seen[m.Name] = true
		require.False(t, m.Code == "" && m.Status == 0, "%s comes to nothing", m.Name)
	}
}

func TestALabLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lab := hostile.New(t)
	for _, m := range hostile.Modes() {
		server := lab.Start(m)
		conn, err := net.Dial("tcp", server.Addr())
		if err != nil {
			continue // a mode without a listener
		}
		defer conn.Close()
	}
	lab.Close()
}

func TestDNS(t *testing.T) {
	lab := hostile.New(t)
	resolver := lab.DNS.Resolver()
	look := func(host string) ([]string, *net.DNSError) {
		addrs, err := resolver.LookupHost(context.Background(), host)
		var dns *net.DNSError
		if err != nil {
			require.ErrorAs(t, err, &dns)
		}
		return addrs, dns
	}
	addrs, _ := look("any.test.")
	require.Equal(t, []string{"127.0.0.1"}, addrs)
	_, err := look("nxdomain.test.")
	require.True(t, err.IsNotFound)
	_, err = look("servfail.test.")
	require.False(t, err.IsNotFound)
	_, err = look("silent.test.")
	require.True(t, err.IsTimeout)

	lab.DNS.Set("two.test", "10.0.0.1", "fd00::1")
	lab.DNS.Set("two.test", "10.0.0.2")
	addrs, _ = look("two.test.")
	require.ElementsMatch(t, []string{"10.0.0.1", "fd00::1"}, addrs)
	addrs, _ = look("two.test.")
	require.Equal(t, []string{"10.0.0.2"}, addrs)
	addrs, _ = look("two.test.")
	require.Equal(t, []string{"10.0.0.2"}, addrs, "the last answer stays")
}

func TestServersCount(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("status-204")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 {
		resp, err := client.Get(server.URL)
		require.NoError(t, err)
		require.Equal(t, 204, resp.StatusCode)
		resp.Body.Close()
	}
	require.Equal(t, 2, server.Requests())
	require.Equal(t, 2, server.Connections())
}
