package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

func try(s *sender, e Endpoint) DeliveryAttempt {
	return s.attempt(context.Background(), testClaim(), newTarget(e))
}

func TestAnEndpointCannotRideAnothersConnection(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client, err := NewClient(ClientConfig{})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	s := newTestSender(client)
	excepted := Endpoint{URL: server.URL, AllowPrivate: Loopback}

	require.Equal(t, 404, *try(s, excepted).StatusCode)
	second := try(s, excepted)
	require.Equal(t, 404, *second.StatusCode)
	require.Zero(t, second.Timings.ConnectMS, "the first connection was kept")

	require.Equal(t, CodeBlockedAddress, try(s, Endpoint{URL: server.URL}).ErrorCode)
	require.Equal(t, CodeBlockedAddress, try(s, Endpoint{
		URL: server.URL, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}).ErrorCode)
}

func TestClientCertificatesAreTheEndpointsOwn(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("tls-client-certificate-required")
	s := newTestSender(labClient(t, lab))
	cert, key := lab.ClientCertificate()
	known := Endpoint{URL: server.URL, ClientCert: &ClientCert{Cert: cert, Key: key}}

	a := try(s, known)
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
	require.Equal(t, CodeTLSHandshakeFailed, try(s, Endpoint{URL: server.URL}).ErrorCode)
	require.Equal(t, AttemptSucceeded, try(s, known).Status)
}

func TestRulesTellConnectionsApart(t *testing.T) {
	lab := hostile.New(t)
	cert, key := lab.ClientCertificate()
	cert2, key2 := lab.ClientCertificate()
	ten, loop := netip.MustParsePrefix("10.0.0.0/8"), Loopback[0]
	key_ := func(e Endpoint) string { e.URL = "http://a.test"; return newTarget(e).rules.key }

	require.Empty(t, key_(Endpoint{}))
	require.Equal(t, key_(Endpoint{AllowPrivate: []netip.Prefix{ten, loop}}), key_(Endpoint{AllowPrivate: []netip.Prefix{loop, ten, ten}}))
	seen := map[string]bool{}
	for _, e := range []Endpoint{
		{}, {AllowPrivate: []netip.Prefix{ten}}, {AllowPrivate: []netip.Prefix{loop}}, {AllowPrivate: []netip.Prefix{ten, loop}},
		{ClientCert: &ClientCert{cert, key}}, {ClientCert: &ClientCert{cert2, key2}},
		{ClientCert: &ClientCert{cert, key}, AllowPrivate: []netip.Prefix{ten}},
	} {
		require.False(t, seen[key_(e)])
		seen[key_(e)] = true
	}
}

func TestRebinding(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("status-200")
	u, err := url.Parse(server.URL)
	require.NoError(t, err)
	at := func(host string) Endpoint { return Endpoint{URL: "http://" + host + ":" + u.Port()} }
	s := newTestSender(labClient(t, lab))

	lab.DNS.Set("rebind.test", "127.0.0.1")
	lab.DNS.Set("rebind.test", "10.0.0.1")
	require.Equal(t, AttemptSucceeded, try(s, at("rebind.test")).Status)
	require.Equal(t, CodeBlockedAddress, try(s, at("rebind.test")).ErrorCode, "checked at every connection")

	lab.DNS.Set("several.test", "10.0.0.1", "127.0.0.1")
	a := try(s, at("several.test"))
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
	require.Equal(t, "127.0.0.1:"+u.Port(), a.RemoteAddr)

	for _, addr := range []string{"::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::", "0.0.0.0", "fe80::1"} {
		host := "a" + strings.NewReplacer(":", "x", ".", "y").Replace(addr) + ".test"
		lab.DNS.Set(host, addr)
		require.Equal(t, CodeBlockedAddress, try(s, at(host)).ErrorCode, addr)
	}
}

func TestPortsNarrow(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	s := newTestSender(newTestClient(t, ClientConfig{Ports: []uint16{443}}))
	require.Equal(t, CodeBlockedAddress, try(s, Endpoint{URL: server.URL}).ErrorCode)
}

func TestStaleConnectionsAreSentAgainOnce(t *testing.T) {
	lab := hostile.New(t)
	for _, name := range []string{"stale-keep-alive", "h2-stale-keep-alive"} {
		server := lab.StartNamed(name)
		s := newTestSender(labClient(t, lab))
		first := try(s, Endpoint{URL: server.URL})
		require.Equal(t, AttemptSucceeded, first.Status, "%s: %s", name, first.Error)
		require.Zero(t, first.Resends)
		second := try(s, Endpoint{URL: server.URL})
		require.Equal(t, AttemptSucceeded, second.Status, "%s: %s", name, second.Error)
		require.Equal(t, 1, second.Resends, name)
		require.Equal(t, 3, server.Requests(), name)
		require.Equal(t, 2, server.Connections(), name)
	}
}

func TestAnAnswerThatBreaksOffIsNotSentAgain(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("stale-mid-answer")
	s := newTestSender(labClient(t, lab))
	require.Equal(t, AttemptSucceeded, try(s, Endpoint{URL: server.URL}).Status)
	a := try(s, Endpoint{URL: server.URL})
	require.Equal(t, CodeSocketClosed, a.ErrorCode, a.Error)
	require.Zero(t, a.Resends)
	require.Equal(t, 2, server.Requests())
}

// What else is requested with an attempt's context, as by a client of the user's that fetches a token
// on the way, does not get the endpoint's exceptions.
func TestExceptionsAreForTheEndpointsHostOnly(t *testing.T) {
	endpoint, other := httptest.NewServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	defer endpoint.Close()
	defer other.Close()
	inner, err := NewClient(ClientConfig{})
	require.NoError(t, err)
	defer inner.CloseIdleConnections()
	var onTheWay error
	s := newTestSender(clientFunc(func(r *http.Request) (*http.Response, error) {
		token, err := http.NewRequestWithContext(r.Context(), "GET", other.URL, nil)
		require.NoError(t, err)
		_, onTheWay = inner.Do(token)
		return inner.Do(r)
	}))
	a := try(s, Endpoint{URL: endpoint.URL, AllowPrivate: Loopback})
	require.Equal(t, 404, orZero(a.StatusCode), a.Error)
	require.ErrorIs(t, onTheWay, ErrBlockedAddress)
}

func TestHTTP2PeersCannotPushMuch(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("h2")
	require.Equal(t, AttemptSucceeded, try(newTestSender(labClient(t, lab)), Endpoint{URL: server.URL}).Status)
	stream, conn := server.Windows()
	require.LessOrEqual(t, stream, int64(64<<10))
	require.LessOrEqual(t, conn, int64(1<<20))
	require.Positive(t, stream)
}

func TestATrailingDotIsNoOtherHost(t *testing.T) {
	lab := hostile.New(t)
	u := mustParse(t, lab.StartNamed("tls").URL)
	a := try(newTestSender(labClient(t, lab)), Endpoint{URL: "https://TLS.test.:" + u.Port()})
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
}

func TestAStaleConnectionIsNoReasonForAThirdRequest(t *testing.T) {
	// The first connection answers once; after that every request finds its connection closed.
	var mu sync.Mutex
	seen := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen++
		first := seen == 1
		mu.Unlock()
		if !first {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	s := newTestSender(newTestClient(t, ClientConfig{}))
	require.Equal(t, AttemptSucceeded, try(s, Endpoint{URL: server.URL}).Status)
	a := try(s, Endpoint{URL: server.URL})
	require.Equal(t, CodeSocketClosed, a.ErrorCode, a.Error)
	require.Equal(t, 1, a.Resends)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, 3, seen)
}

func TestOneCallIsOneRequest(t *testing.T) {
	lab := hostile.New(t)
	for _, name := range []string{"h2-goaway", "h2-refused-stream", "h2-reset-protocol", "h2-close", "close", "reset"} {
		for _, payload := range []string{"", "{}"} {
			for _, method := range []string{"POST", "GET"} {
				server := lab.StartNamed(name)
				s := newTestSender(labClient(t, lab))
				claim := testClaim()
				claim.Event.Payload = []byte(payload)
				claim.Event.Headers = map[string]string{"Idempotency-Key": "k", "X-Idempotency-Key": "k"}
				a := s.attempt(context.Background(), claim, newTarget(Endpoint{URL: server.URL, Method: method}))
				require.NotEmpty(t, a.ErrorCode)
				require.Zero(t, a.Resends)
				require.Equal(t, 1, server.Requests(), "%s %s %q", name, method, payload)
			}
		}
	}
}

func TestOneCallOfDoIsOneRequest(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("h2-goaway")
	r, err := http.NewRequest("POST", server.URL, bytes.NewReader([]byte("{}")))
	require.NoError(t, err)
	require.NotNil(t, r.GetBody)
	_, err = labClient(t, lab).Do(r)
	require.Error(t, err)
	require.Equal(t, 1, server.Requests())
}

func TestDoAloneResendsWhatItCanRewind(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("stale-keep-alive")
	client := labClient(t, lab)
	post := func(body io.Reader) error {
		r, err := http.NewRequest("POST", server.URL, body)
		require.NoError(t, err)
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	require.NoError(t, post(strings.NewReader("a")))
	require.NoError(t, post(strings.NewReader("b")), "a rewindable body")
	require.Error(t, post(io.MultiReader(strings.NewReader("c"))), "a body that cannot be had again")
	require.Equal(t, 4, server.Requests())
}

func mustParse(t *testing.T, raw string) *url.URL {
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	lab := hostile.New(t)
	server := lab.StartNamed("redirect")
	a := try(newTestSender(labClient(t, lab)), Endpoint{URL: server.URL})
	require.Equal(t, 302, *a.StatusCode)
	require.Equal(t, CodeBadResponse, a.ErrorCode)
	require.Equal(t, "/elsewhere", a.ResponseHeaders["Location"])
	require.Equal(t, 1, server.Requests())
}

// A client of the user's own that follows redirects turns the POST into a GET, which then succeeds
// without the payload. That is not a delivery.
func TestAPostTurnedIntoAGetIsNoSuccess(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			http.Redirect(w, r, "/page", http.StatusFound)
		}
	}))
	defer server.Close()
	a := try(newTestSender(&http.Client{}), Endpoint{URL: server.URL})
	require.Equal(t, AttemptFailed, a.Status)
	require.Equal(t, 302, *a.StatusCode)
	require.Equal(t, CodeBadResponse, a.ErrorCode)
}

func TestReceiversThatDoNotRead(t *testing.T) {
	lab := hostile.New(t)
	s := newTestSender(labClient(t, lab))
	claim := testClaim()
	claim.Event.Payload = bytes.Repeat([]byte("p"), 16<<20)
	post := func(name string) DeliveryAttempt {
		return s.attempt(context.Background(), claim, newTarget(Endpoint{URL: lab.StartNamed(name).URL, Timeout: time.Second}))
	}
	a := post("never-reads")
	require.Equal(t, CodeTimeout, a.ErrorCode)
	require.Contains(t, a.Error, "while sending the request")
	require.Nil(t, a.DeliveredAt)

	a = post("answers-unread")
	require.Equal(t, 413, orZero(a.StatusCode), a.Error)
	require.NotNil(t, a.DeliveredAt)
}

// Whether the answer or the request comes first is a race; neither order may confuse.
func TestAReceiverThatSpeaksFirst(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	s := newTestSender(newTestClient(t, ClientConfig{MaxIdlePerHost: -1}))
	for range 50 {
		a := try(s, Endpoint{URL: "http://" + listener.Addr().String()})
		if a.ErrorCode != "" {
			require.Equal(t, CodeProtocolError, a.ErrorCode, a.Error)
			require.NotContains(t, a.Error, "%!")
		}
	}
	listener.Close()
	open.Wait()
}

func TestIPv6(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	a := try(newTestSender(newTestClient(t, ClientConfig{})), Endpoint{URL: server.URL})
	require.Equal(t, 404, orZero(a.StatusCode), a.Error)
	require.Equal(t, listener.Addr().String(), a.RemoteAddr)
	a = try(newTestSender(newTestClient(t, ClientConfig{AllowPrivate: Loopback[:1]})), Endpoint{URL: server.URL})
	require.Equal(t, CodeBlockedAddress, a.ErrorCode)
}

// Whatever receivers send, an attempt holds on to little of it.
func TestHostileReceiversCostBoundedMemory(t *testing.T) {
	lab := hostile.New(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	client := labClient(t, lab)
	defer client.CloseIdleConnections()
	s := newTestSender(client)
	modes := []string{"endless-body", "gzip-bomb", "header-bomb", "endless-header", "flood-1xx", "h2-header-flood"}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before uint64
	for round := range 4 {
		for _, name := range modes {
			server := lab.StartNamed(name)
			began := time.Now()
			a := try(s, Endpoint{URL: server.URL})
			require.NotEqual(t, CodeTimeout, a.ErrorCode, name)
			require.Less(t, time.Since(began), 15*time.Second, name)
			require.LessOrEqual(t, len(orZero(a.ResponseBodyPreview)), 2048)
			server.Close()
		}
		if round == 0 {
			before = heap()
		}
	}
	require.Less(t, heap(), before+4<<20)
}

func TestTimingsAndPhases(t *testing.T) {
	lab := hostile.New(t)
	s := newTestSender(labClient(t, lab))
	a := try(s, Endpoint{URL: lab.StartNamed("tls").URL})
	require.Equal(t, AttemptSucceeded, a.Status, a.Error)
	require.Positive(t, a.Timings.DNSMS)
	require.Positive(t, a.Timings.ConnectMS)
	require.Positive(t, a.Timings.TLSMS)

	s.timeout = 100 * time.Millisecond
	a = try(s, Endpoint{URL: lab.StartNamed("hang").URL})
	require.Contains(t, a.Error, "may have been processed")
	require.NotNil(t, a.DeliveredAt)
	a = try(s, Endpoint{URL: lab.StartNamed("tls-stall").URL})
	require.Contains(t, a.Error, "during the TLS handshake; the request was not sent in full")
	require.Nil(t, a.DeliveredAt)
	a = try(s, Endpoint{URL: "http://silent.test", Timeout: 50 * time.Millisecond})
	require.Equal(t, CodeTimeout, a.ErrorCode)
	require.Contains(t, a.Error, "while looking up the host")
}

func TestResponsesAreNotDecompressed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Asked", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "not gzip")
	}))
	defer server.Close()
	a := try(newTestSender(newTestClient(t, ClientConfig{})), Endpoint{URL: server.URL})
	require.Equal(t, "not gzip", *a.ResponseBodyPreview)
	require.Empty(t, a.ResponseHeaders["X-Asked"])
}

func TestTheClientsTLSFloor(t *testing.T) {
	client := newTestClient(t, ClientConfig{})
	cfg := client.tlsConfig("a.test", nil)
	require.Equal(t, uint16(tls.VersionTLS12), cfg.MinVersion)
	require.Nil(t, cfg.ClientSessionCache)
	require.False(t, cfg.InsecureSkipVerify)
}

func TestRootStoreWarning(t *testing.T) {
	full := x509.NewCertPool()
	full.AddCert(&x509.Certificate{Raw: []byte("x"), RawSubject: []byte("x")})
	system := func(p *x509.CertPool, err error) func() (*x509.CertPool, error) {
		return func() (*x509.CertPool, error) { return p, err }
	}
	require.Empty(t, rootStoreWarning(nil, system(full, nil)))
	require.Empty(t, rootStoreWarning(full, system(nil, errors.New("none"))))
	require.Contains(t, rootStoreWarning(nil, system(x509.NewCertPool(), nil)), "ca-certificates")
	require.Contains(t, rootStoreWarning(nil, system(nil, errors.New("none"))), "ca-certificates")
	require.Contains(t, rootStoreWarning(x509.NewCertPool(), system(full, nil)), "RootCAs")
	require.Equal(t, rootStoreWarning(nil, x509.SystemCertPool), newTestClient(t, ClientConfig{}).rootStoreWarning())
}
