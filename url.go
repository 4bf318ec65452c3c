package webhook

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

const maxURLBytes = 2048

// validateURL holds raw to what an endpoint's URL must be and returns it parsed. What is private on
// its face is refused already here, unless guard or allow excepts it; with a nil guard, as for a
// client of the user's own, addresses are not judged. Errors are *FieldError.
func validateURL(raw string, allow []netip.Prefix, guard *Guard) (*url.URL, error) {
	const field = "Endpoint.URL"
	if len(raw) > maxURLBytes {
		return nil, invalid(field, "is longer than %d bytes", maxURLBytes)
	}
	u, problem := parseURL(raw)
	if problem != "" {
		return nil, invalid(field, "%s", problem)
	}
	if u.User != nil {
		return nil, invalid(field, "must not hold user information; use Endpoint.Auth or a header")
	}
	if strings.Contains(raw, "#") {
		return nil, invalid(field, "must not have a fragment, which is never sent")
	}
	if guard != nil {
		if err := guard.with(allow).checkHost(u.Hostname(), portOf(u)); err != nil {
			return nil, invalid(field, "cannot be reached: %v", err)
		}
	}
	return u, nil
}

// parseURL returns the URL, or what is wrong with it. The text never repeats the URL, whose query may
// be a secret.
func parseURL(raw string) (u *url.URL, problem string) {
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, "has a space, a control character or broken UTF-8 in it; escape it"
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, "is not a URL"
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, "must begin with http:// or https://"
	}
	host := u.Hostname()
	if host == "" {
		return nil, "has no host"
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, "has a port that is not one of 1 to 65535"
		}
	}
	return u, hostProblem(host, strings.HasPrefix(u.Host, "["))
}

// hostProblem says what is wrong with a host, or "". Resolvers read more as an IPv4 address than
// netip does (0x7f.1, 0177.0.0.1, 2130706433), and IDNA turns other characters into digits and dots;
// both would be names to us and addresses to them.
func hostProblem(host string, bracketed bool) string {
	if bracketed {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() {
			return "has brackets around what is not an IPv6 address"
		}
		if addr.Zone() != "" {
			return "has an IPv6 zone, which means nothing outside one machine"
		}
		return ""
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return "has a host that is empty or longer than 253 bytes"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if problem := labelProblem(label); problem != "" {
			return problem
		}
	}
	if endsInNumber(labels[len(labels)-1]) {
		if _, err := netip.ParseAddr(name); err != nil {
			return "has a host that ends in a number but is not an IPv4 address in plain decimal"
		}
	}
	return ""
}

func labelProblem(label string) string {
	if label == "" || len(label) > 63 {
		return "has a host with a label that is empty or longer than 63 bytes"
	}
	for i := range len(label) {
		c := label[i]
		if c >= utf8.RuneSelf {
			return "has a host that is not ASCII; write an international name in its xn-- form"
		}
		if !isAlnum(c) && c != '-' && c != '_' {
			return "has a host with a character that no host has"
		}
	}
	return ""
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// endsInNumber is the rule of the WHATWG URL standard for what is meant as an IPv4 address.
func endsInNumber(label string) bool {
	if rest, hex := strings.CutPrefix(strings.ToLower(label), "0x"); hex {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// portOf returns the port of a URL that parseURL let through.
func portOf(u *url.URL) uint16 {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		return uint16(n)
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}
