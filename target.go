package webhook

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// target is an endpoint made ready for attempts, once for each change of it. It is not changed after.
type target struct {
	endpoint Endpoint
	url      *url.URL
	text     string // the URL as records show it
	method   string
	line     string // request line and Host header, as HTTP/1.1 has them
	key      keyHandle
	headers  headerFields  // those of the endpoint that may be sent, once each
	secrets  []string      // if none of them ever expires
	timeout  time.Duration // 0: the sender's
	rules    connRules
	fault    *fault // why no request can be made
}

// connRules are what an endpoint asks of its connections. Requests under different rules never share
// one.
type connRules struct {
	allow []netip.Prefix
	cert  *tls.Certificate
	key   string // tells rules apart; "" for those of most endpoints, which ask nothing
}

func newTarget(e Endpoint) *target {
	t := &target{endpoint: e, method: e.Method, timeout: e.Timeout}
	if t.method == "" {
		t.method = http.MethodPost
	}
	t.setURL(e.URL)
	t.setRules(e.AllowPrivate, e.ClientCert)
	for name, value := range e.Headers {
		if !reservedHeader(name) {
			t.headers.set(http.CanonicalHeaderKey(name), value)
		}
	}
	if !slices.ContainsFunc(e.Secrets, func(s Secret) bool { return !s.ExpiresAt.IsZero() }) {
		t.secrets = liveSecrets(e.Secrets, time.Time{})
	}
	if t.url != nil {
		t.line = t.method + " " + t.url.RequestURI() + " HTTP/1.1\r\nHost: " + t.url.Host + "\r\n"
		t.key = keyOf(t.url, &t.rules)
	}
	return t
}

func (t *target) setURL(raw string) {
	if raw == "" {
		t.fault = &fault{CodeMissingURL, "the endpoint has no URL"}
		return
	}
	u, problem := parseURL(raw)
	t.text = cleanLine(raw, maxURLBytes)
	if u != nil && u.User != nil {
		u.User = nil
		t.text = u.String()
	}
	if problem != "" {
		t.fault = &fault{CodeInvalidURL, "the endpoint's URL " + problem}
		if strings.Contains(raw, "@") {
			t.text = "" // what cannot be parsed may hold user information
		}
		return
	}
	t.url = u
}

func (t *target) setRules(allow []netip.Prefix, cert *ClientCert) {
	if len(allow) == 0 && cert == nil {
		return
	}
	sum := sha256.New()
	if cert != nil {
		pair, err := tls.X509KeyPair([]byte(cert.Cert), []byte(cert.Key))
		if err != nil {
			if t.fault == nil {
				t.fault = &fault{CodeInternalError, "the endpoint's client certificate and key cannot be used"}
			}
			return
		}
		t.rules.cert = &pair
		sum.Write([]byte(cert.Cert + "\x00" + cert.Key))
	}
	t.rules.allow = slices.Clone(allow)
	for i, p := range t.rules.allow {
		t.rules.allow[i] = unmapPrefix(p)
	}
	slices.SortFunc(t.rules.allow, netip.Prefix.Compare)
	for _, p := range slices.Compact(t.rules.allow) {
		sum.Write([]byte("\x00" + p.String()))
	}
	t.rules.key = base64.RawStdEncoding.EncodeToString(sum.Sum(nil))
}

// liveSecrets are those that sign at this time, the newest first.
func (t *target) liveSecrets(at time.Time) []string {
	if t.secrets != nil {
		return t.secrets[:len(t.secrets):len(t.secrets)]
	}
	return liveSecrets(t.endpoint.Secrets, at)
}

// reservedHeader reports whether endpoints and events may not set a header of that name: it belongs
// to the connection, to the framing of the request, or to Standard Webhooks' signature.
func reservedHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "webhook-") || framingHeader(name)
}

func framingHeader(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer",
		"upgrade", "expect", "http2-settings", "proxy-connection", "proxy-authenticate", "proxy-authorization":
		return true
	}
	return false
}

// ownHeaders are what the library sets itself; only their values are recorded.
type ownHeaders struct {
	agent, contentType string
	signed             bool // by the library's own signer
}

func (o *ownHeaders) set(f *headerFields) {
	if o.contentType == "" {
		o.contentType = "application/json"
	}
	f.set("Content-Type", o.contentType)
	f.set("User-Agent", o.agent)
}

func (o *ownHeaders) sets(name, value string) bool {
	switch name {
	case "User-Agent":
		return value == o.agent
	case "Content-Type":
		return value == o.contentType
	case "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature":
		return o.signed
	}
	return false
}

// invalidHeader finds a header that HTTP cannot carry.
func invalidHeader(h http.Header) (name string, found bool) {
	for name, values := range h {
		if !validHeaderName(name) {
			return name, true
		}
		for _, v := range values {
			if !validHeaderValue(v) {
				return name, true
			}
		}
	}
	return "", false
}

func validHeaderName(name string) bool {
	for i := range len(name) {
		if !isAlnum(name[i]) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(name[i])) {
			return false
		}
	}
	return name != ""
}

func validHeaderValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
