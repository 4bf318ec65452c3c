package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrBlockedAddress says that the address guard refused to connect. The address is not public, or its port is
// not among ClientConfig.Ports.
var ErrBlockedAddress = errors.New("webhook: blocked address")

// Guard decides which addresses may be dialled: those of the public Internet, and exceptions. For
// IPv4 that is everything outside IANA's special-purpose registry; for IPv6, 2000::/3 without what
// the registry takes out of it, so neither Teredo nor 6to4 nor NAT64. The default client has one in
// front of every connection. To put one under a client of your own:
//
//	dialer := &net.Dialer{Control: webhook.NewGuard().Control}
//	transport := &http.Transport{DialContext: dialer.DialContext} // and no Proxy: it would do the dialling
//
// A Guard is safe for concurrent use.
type Guard struct {
	allow []netip.Prefix
	ports []uint16 // empty: any
	base  *ssrf.Guardian
}

// NewGuard returns a guard that lets through public addresses and those in allow. IPv4 addresses that
// come mapped into IPv6 are judged as IPv4, and so are prefixes.
func NewGuard(allow ...netip.Prefix) *Guard { return newGuard(nil, allow) }

func newGuard(ports []uint16, allow ...[]netip.Prefix) *Guard {
	g := &Guard{ports: slices.Clone(ports), base: registry}
	for _, prefixes := range allow {
		for _, p := range prefixes {
			g.allow = append(g.allow, unmapPrefix(p))
		}
	}
	return g
}

// with returns a guard that has further exceptions.
func (g *Guard) with(allow []netip.Prefix) *Guard {
	if len(allow) == 0 {
		return g
	}
	return newGuard(g.ports, g.allow, allow)
}

// Check says whether hostport, an IP address and a port as in "192.0.2.1:443" or "[2001:db8::1]:443",
// may be dialled on network, which must be tcp, tcp4 or tcp6. It neither resolves nor dials: a name is
// refused, since only the addresses that it resolves to can be judged. An error is an
// [ErrBlockedAddress] and says which rule it was.
func (g *Guard) Check(network, hostport string) error {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %q is not TCP", ErrBlockedAddress, network)
	}
	ap, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return fmt.Errorf("%w: %q is not an IP address with a port; resolve names first", ErrBlockedAddress, hostport)
	}
	return g.check(ap)
}

func (g *Guard) check(ap netip.AddrPort) error {
	if len(g.ports) > 0 && !slices.Contains(g.ports, ap.Port()) {
		return fmt.Errorf("%w: port %d is not among ClientConfig.Ports", ErrBlockedAddress, ap.Port())
	}
	// Prefix.Contains is false for every zoned address, so no prefix list can judge one; and Unmap
	// takes the zone away.
	if ap.Addr().Zone() != "" {
		return fmt.Errorf("%w: %s has a zone", ErrBlockedAddress, ap.Addr())
	}
	addr := ap.Addr().Unmap()
	if g.excepted(addr) {
		// An exception for NAT64 opens the public IPv4 Internet behind it, not what is private there.
		if v4, ok := fromNAT64(addr); ok {
			return g.check(netip.AddrPortFrom(v4, ap.Port()))
		}
		return nil
	}
	if err := g.base.Safe("tcp", netip.AddrPortFrom(addr, ap.Port()).String(), nil); err != nil {
		return fmt.Errorf("%w: %s is not public; allow it by Endpoint.AllowPrivate or ClientConfig.AllowPrivate",
			ErrBlockedAddress, addr)
	}
	return nil
}

// Control is [Guard.Check] in the form that net.Dialer.Control wants. The dialer calls it for every
// address that it is about to connect to, after DNS.
func (g *Guard) Control(network, address string, _ syscall.RawConn) error {
	return g.Check(network, address)
}

func (g *Guard) excepted(addr netip.Addr) bool {
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// checkHost refuses what is known to be private without DNS: IP literals and localhost. Other names
// pass; their addresses are judged when they are dialled.
func (g *Guard) checkHost(host string, port uint16) error {
	host = strings.TrimSuffix(host, ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.check(netip.AddrPortFrom(addr, port))
	}
	if name := strings.ToLower(host); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		v4, v6 := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port),
			netip.AddrPortFrom(netip.IPv6Loopback(), port)
		if err := g.check(v4); err != nil && g.check(v6) != nil {
			return err
		}
	}
	if len(g.ports) > 0 && !slices.Contains(g.ports, port) {
		return fmt.Errorf("%w: port %d is not among ClientConfig.Ports", ErrBlockedAddress, port)
	}
	return nil
}

// registry is IANA's, as code.dny.dev/ssrf keeps it, and what was added since that version.
var registry = ssrf.New(ssrf.WithAnyNetwork(), ssrf.WithAnyPort(), ssrf.WithDeniedV6Prefixes(
	netip.MustParsePrefix("3fff::/20"), // documentation, RFC 9637
))

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

func fromNAT64(addr netip.Addr) (netip.Addr, bool) {
	if !ssrf.IPv6NAT64Prefix.Contains(addr) {
		return netip.Addr{}, false
	}
	b := addr.As16()
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// blockedText stands in an attempt's record in place of the guard's own words: those name an
// address, which a tenant who probes for internal names must not learn.
func blockedText(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return "blocked address: the host has an address that is not public, or a port that is not allowed"
	}
	return "blocked address: the host is not public, or its port is not allowed"
}
