package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

// notByClient are the codes that no attempt of a sender can have, and why.
var notByClient = map[ErrorCode]string{
	CodeCancelledPastRetention: "on Delivery.FailureCode only: expired while pending",
	CodeCancelled:              "by the user, before an attempt",
	CodeBulkRetryCancelled:     "by the user, before an attempt",
	CodeEndpointDisabled:       "on Delivery.FailureCode only",
	CodeInterrupted:            "recorded by Store.Claim for a lease that ran out",
	CodeZDataError:             "declared only: a body never changes the verdict",
	CodeCLI:                    "declared only",
	CodeCLIUnavailable:         "declared only",
}

// codeCase makes one attempt that must end with a code.
type codeCase struct {
	name   string
	code   ErrorCode
	status int
	make   func(t *testing.T) DeliveryAttempt
}

func TestEveryErrorCodeIsProducedBySomethingReal(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lab := hostile.New(t)
	produced := newCodeSet()
	// The group ends before the coverage is counted.
	t.Run("cases", func(t *testing.T) {
		for _, c := range append(modeCases(lab), otherCases(lab)...) {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				a := c.make(t)
				require.Equal(t, c.code, a.ErrorCode, "status %v, error %q", a.StatusCode, a.Error)
				checkRecord(t, a, c.status)
				produced.add(a.ErrorCode)
			})
		}
	})
	for _, code := range ErrorCodes() {
		_, excused := notByClient[code]
		require.NotEqual(t, excused, produced.has(code),
			"%s must be produced by a case, or else have a reason in notByClient", code)
	}
	lab.Close()
}

type codeSet struct {
	mu   sync.Mutex
	seen map[ErrorCode]bool
}

func newCodeSet() *codeSet { return &codeSet{seen: map[ErrorCode]bool{}} }

func (s *codeSet) add(c ErrorCode) { s.mu.Lock(); defer s.mu.Unlock(); s.seen[c] = true }
func (s *codeSet) has(c ErrorCode) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[c]
}

// checkRecord holds an attempt to what RECORDS.md says of all of them.
func checkRecord(t *testing.T, a DeliveryAttempt, status int) {
	t.Helper()
	require.Equal(t, a.ErrorCode == "", a.Status == AttemptSucceeded)
	require.Equal(t, a.StatusCode == nil, a.Error != "", "text if and only if there was no status line")
	require.Equal(t, a.StatusCode == nil, a.ResponseBodyPreview == nil)
	require.Equal(t, a.StatusCode == nil, a.RespondedAt == nil)
	require.Equal(t, status, orZero(a.StatusCode))
	require.LessOrEqual(t, len(a.Error), maxErrorText)
	require.False(t, a.CompletedAt.Before(a.StartedAt))
	for _, at := range []*time.Time{&a.StartedAt, a.DeliveredAt, a.RespondedAt, &a.CompletedAt} {
		if at != nil {
			require.Equal(t, time.UTC, at.Location())
			require.Zero(t, at.Nanosecond()%1000)
		}
	}
	if a.StatusCode != nil {
		require.NotNil(t, a.DeliveredAt)
	}
}

func labClient(t testing.TB, lab *hostile.Lab, change ...func(*ClientConfig)) *Client {
	cfg := ClientConfig{RootCAs: lab.Roots, Resolver: lab.DNS.Resolver(), AllowPrivate: Loopback}
	for _, f := range change {
		f(&cfg)
	}
	return newTestClient(t, cfg)
}

func modeCases(lab *hostile.Lab) []codeCase {
	var cases []codeCase
	for _, m := range hostile.Modes() {
		cases = append(cases, codeCase{m.Name, ErrorCode(m.Code), m.Status, func(t *testing.T) DeliveryAttempt {
			return attemptMode(t, lab, m)
		}})
	}
	return cases
}

func attemptMode(t *testing.T, lab *hostile.Lab, m hostile.Mode) DeliveryAttempt {
	server := lab.Start(m)
	s := newTestSender(labClient(t, lab))
	if m.Slow {
		s.timeout = 300 * time.Millisecond
	}
	began := time.Now()
	a := s.attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: server.URL}))
	require.Less(t, time.Since(began), s.timeout+5*time.Second)
	require.LessOrEqual(t, server.Requests(), 1, "one call, one request")
	return a
}

func otherCases(lab *hostile.Lab) []codeCase {
	simple := func(name string, code ErrorCode, client HTTPClient, e Endpoint, change ...func(*sender, *Claim)) codeCase {
		return codeCase{name, code, 0, func(t *testing.T) DeliveryAttempt {
			s, c := newTestSender(client), testClaim()
			for _, f := range change {
				f(s, &c)
			}
			return s.attempt(context.Background(), c, newTarget(e))
		}}
	}
	never := clientFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("must not be called") })
	fails := func(err error) clientFunc {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	here := Endpoint{URL: "http://example.test"}
	cases := []codeCase{
		simple("no URL", CodeMissingURL, never, Endpoint{}),
		simple("other scheme", CodeInvalidURL, never, Endpoint{URL: "ftp://example.test"}),
		simple("bad port", CodeInvalidURL, never, Endpoint{URL: "http://example.test:99999"}),
		simple("header with a line break", CodeInvalidCharacter, never, Endpoint{URL: here.URL, Headers: map[string]string{"X": "a\nb"}}),
		simple("header name with a space", CodeInvalidCharacter, never, here, func(_ *sender, c *Claim) {
			c.Event.Headers = map[string]string{"X Y": "z"}
		}),
		simple("no payload", CodePayloadMissing, never, here, func(_ *sender, c *Claim) { c.Event.Payload = nil }),
		simple("payload erased", CodeDataArchived, never, here, func(_ *sender, c *Claim) { c.Event.ErasedAt = new(time.Time) }),
		simple("authenticator fails", CodeOAuth2HandshakeFailed, never, Endpoint{URL: here.URL, Auth: &Auth{Kind: "oauth2"}},
			func(s *sender, _ *Claim) {
				s.authenticators = map[string]Authenticator{"oauth2": authFunc(func(*http.Request) error { return errors.New("no token") })}
			}),
		simple("authenticator unknown", CodeInternalError, never, Endpoint{URL: here.URL, Auth: &Auth{Kind: "x"}}),
		simple("signer fails", CodeInternalError, never, here, func(s *sender, _ *Claim) { s.signer = signFunc(func(http.Header) error { return errors.New("no") }) }),
		simple("client certificate is none", CodeInternalError, never, Endpoint{URL: "https://example.test", ClientCert: &ClientCert{}}),
		simple("client returns nothing", CodeInternalError, fails(nil), here),
		simple("any error", CodeUnknown, fails(errors.New("whatever")), here),
		simple("weak signature of a certificate", CodeTLSCertInvalid, fails(x509.InsecureAlgorithmError(x509.SHA1WithRSA)), here),
		simple("http.Client on plain HTTP", CodeSSLWrongVersionNumber, fails(&url.Error{Err: http.ErrSchemeMismatch}), here),
		simple("connect timed out", CodeTimeout, fails(&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}), here),
		{"shutdown", CodeNetworkRequestCanceled, 0, func(t *testing.T) DeliveryAttempt {
			server := lab.StartNamed("hang")
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			return newTestSender(labClient(t, lab)).attempt(ctx, testClaim(), newTarget(Endpoint{URL: server.URL}))
		}},
		{"blocked", CodeBlockedAddress, 0, func(t *testing.T) DeliveryAttempt {
			lab.DNS.Set("private.test", "10.0.0.1")
			a := newTestSender(labClient(t, lab)).attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: "http://private.test"}))
			require.NotContains(t, a.Error, "10.0.0.1")
			require.Empty(t, a.RemoteAddr, "nothing was dialled")
			require.Nil(t, a.DeliveredAt)
			return a
		}},
		{"too many redirects", CodeTooManyRedirects, 0, func(t *testing.T) DeliveryAttempt {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			server := lab.StartNamed("redirect")
			return newTestSender(client).attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: server.URL, Method: "GET"}))
		}},
		{"no such local address", CodeNetworkError, 0, func(t *testing.T) DeliveryAttempt {
			// No machine has this address of documentation: binding to it fails.
			dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7)}}
			client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
			return newTestSender(client).attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: "http://127.0.0.1:9"}))
		}},
		{"network unreachable", CodeNetworkUnreachable, 0, func(t *testing.T) DeliveryAttempt {
			return withoutNetwork(t, syscall.ENETUNREACH, "")
		}},
		{"host unreachable", CodeHostUnreachable, 0, func(t *testing.T) DeliveryAttempt {
			return withoutNetwork(t, syscall.EHOSTUNREACH, "ip route add unreachable 203.0.113.9")
		}},
	}
	return append(cases, proxyCases(lab)...)
}

func proxyCases(lab *hostile.Lab) []codeCase {
	through := func(t *testing.T, proxy *url.URL, timeout time.Duration) DeliveryAttempt {
		server := lab.StartNamed("tls")
		s := newTestSender(labClient(t, lab, func(cfg *ClientConfig) { cfg.Proxy = proxy }))
		s.timeout = timeout
		return s.attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: server.URL}))
	}
	login := url.UserPassword("me", "pw")
	var cases []codeCase
	for _, scheme := range []string{"http", "socks5"} {
		for _, c := range []struct {
			name   string
			mode   hostile.ProxyMode
			user   *url.Userinfo
			give   *url.Userinfo
			code   ErrorCode
			status int
		}{
			{"works", hostile.ProxyWorks, nil, nil, "", 200},
			{"works with login", hostile.ProxyWorks, login, login, "", 200},
			{"wrong login", hostile.ProxyWorks, login, url.UserPassword("me", "no"), CodeProxyError, 0},
			{"refuses", hostile.ProxyRefuses, nil, nil, CodeProxyError, 0},
			{"babbles", hostile.ProxyBabbles, nil, nil, CodeProxyError, 0},
			{"silent", hostile.ProxySilent, nil, nil, CodeTimeout, 0},
		} {
			if c.mode == hostile.ProxyBabbles && scheme != "http" {
				continue
			}
			cases = append(cases, codeCase{scheme + " proxy " + c.name, c.code, c.status, func(t *testing.T) DeliveryAttempt {
				proxy := lab.StartProxy(scheme, c.mode, c.user)
				u := proxy.URL(scheme)
				u.User = c.give
				timeout := 5 * time.Second
				if c.code == CodeTimeout {
					timeout = 200 * time.Millisecond
				}
				return through(t, u, timeout)
			}})
		}
		cases = append(cases, codeCase{scheme + " proxy down", CodeProxyError, 0, func(t *testing.T) DeliveryAttempt {
			u, _ := url.Parse(lab.StartNamed("refused").URL)
			return through(t, &url.URL{Scheme: scheme, Host: u.Host}, 5*time.Second)
		}})
	}
	return cases
}

type authFunc func(*http.Request) error

func (f authFunc) Authorize(_ context.Context, r *http.Request, _ Endpoint) error { return f(r) }

type signFunc func(http.Header) error

func (f signFunc) Sign(h http.Header, _ Message) error { return f(h) }

// withoutNetwork makes an attempt from a thread whose network has no way to anywhere but what setup
// adds. Where the machine does not let us make such a network, the error number stands in for it.
func withoutNetwork(t *testing.T, errno syscall.Errno, setup string) DeliveryAttempt {
	result := make(chan DeliveryAttempt)
	go func() {
		// Not unlocked: the thread ends with this goroutine, and its network with it.
		runtime.LockOSThread()
		client := HTTPClient(newTestClient(t, ClientConfig{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}))
		if err := isolate(setup); err != nil {
			t.Log("cannot isolate a thread here:", err)
			client = clientFunc(func(*http.Request) (*http.Response, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connect: %w", errno)}
			})
		}
		result <- newTestSender(client).attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: "http://203.0.113.9/"}))
	}()
	return <-result
}
