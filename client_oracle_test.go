package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

// netHTTP is what a user would set in Config.HTTPClient to have net/http throughout.
func netHTTP(t *testing.T, lab *hostile.Lab) HTTPClient {
	dialer := &net.Dialer{Resolver: lab.DNS.Resolver(), Control: NewGuard(Loopback...).Control}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: lab.Roots}, ForceAttemptHTTP2: true,
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Where the two differ on purpose.
var unlikeNetHTTP = map[string]string{
	"h2-goaway":         "net/http repeats the request until it finds other words for it",
	"h2-refused-stream": "net/http repeats the request",
}

func TestHostileReceiversComeToTheSameWithNetHTTP(t *testing.T) {
	lab := hostile.New(t)
	for _, m := range hostile.Modes() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			if why := unlikeNetHTTP[m.Name]; why != "" {
				t.Skip(why)
			}
			attempt := func(client HTTPClient) DeliveryAttempt {
				s := newTestSender(client)
				if m.Slow {
					s.timeout = 300 * time.Millisecond
				}
				return s.attempt(context.Background(), testClaim(), newTarget(Endpoint{URL: lab.Start(m).URL}))
			}
			ours, theirs := attempt(labClient(t, lab)), attempt(netHTTP(t, lab))
			require.Equal(t, theirs.ErrorCode, ours.ErrorCode, "ours: %s\nnet/http: %s", ours.Error, theirs.Error)
			require.Equal(t, theirs.StatusCode, ours.StatusCode)
			require.Equal(t, theirs.ResponseHeaders, ours.ResponseHeaders)
			require.Equal(t, theirs.ResponseBodyTruncated, ours.ResponseBodyTruncated)
			if m.Name != "reset-unread" { // a race between the request and the reset
				require.Equal(t, theirs.DeliveredAt == nil, ours.DeliveredAt == nil)
			}
			if !m.Slow {
				require.Equal(t, theirs.ResponseBodyPreview, ours.ResponseBodyPreview)
			}
		})
	}
}

// recorder notes the requests of its connections byte by byte, and answers them.
func recorder(t *testing.T) (url string, requests chan string) {
	requests = make(chan string, 16)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var seen bytes.Buffer
				in := bufio.NewReader(io.TeeReader(conn, &seen))
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					requests <- seen.String()
					seen.Reset()
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	return "http://" + listener.Addr().String(), requests
}

func TestRequestsAreWrittenAsNetHTTPWritesThem(t *testing.T) {
	base, requests := recorder(t)
	client := newTestClient(t, ClientConfig{})
	at := time.Now()
	for _, payload := range []string{"", "{}", strings.Repeat("p", 20<<10)} {
		for _, method := range []string{"POST", "PUT", "PATCH", "GET", "DELETE"} {
			for _, path := range []string{"", "/", "/a b?c=d e", "/%41%2f?", "/?x=%zz", "//double", "/ü?ö"} {
				e := Endpoint{URL: base + strings.ReplaceAll(path, " ", "%20"), Method: method, Secrets: []Secret{NewSecret()}, Headers: map[string]string{
					"x-b": "1", "X-A": " spaced\t", "accept": "*/*", "User-Agent": "mine", "Z": "", "authorization": "x", "Keep-Alive": "no",
				}}
				c := testClaim()
				c.Event.Payload, c.Event.ContentType = []byte(payload), "text/plain; charset=\"x\""
				c.Event.Headers = map[string]string{"X-A2": "2", "Accept-Encoding": "br"}
				s := newTestSender(client)
				s.signer, s.wall = &standardSigner{}, func() time.Time { return at }
				require.Equal(t, AttemptSucceeded, s.attempt(context.Background(), c, newTarget(e)).Status)
				ours := <-requests
				s.client = &http.Client{}
				require.Equal(t, AttemptSucceeded, s.attempt(context.Background(), c, newTarget(e)).Status)
				require.Equal(t, <-requests, ours, "%s %s", method, path)
			}
		}
	}
}

// A kept connection that was closed, or spoken on, while it was idle costs no request.
func TestIdleConnectionsAreLookedAtBeforeUse(t *testing.T) {
	for _, tail := range []string{"", "HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n"} {
		for _, secure := range []bool{false, true} {
			var logged bytes.Buffer
			log.SetOutput(&logged)
			defer log.SetOutput(log.Default().Writer())
			said := make(chan struct{}, 8)
			requests := 0
			url, roots := listenAndServe(t, secure, func(conn net.Conn, in *bufio.Reader) {
				for {
					if !readRequest(in) {
						return
					}
					requests++
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
					_, _ = io.WriteString(conn, tail)
					if tail == "" {
						conn.Close()
					}
					said <- struct{}{}
				}
			})
			s := newTestSender(newTestClient(t, ClientConfig{RootCAs: roots}))
			for i := range 3 {
				a := try(s, Endpoint{URL: url})
				require.Equal(t, 200, orZero(a.StatusCode), a.Error)
				require.Zero(t, a.Resends)
				<-said
				require.Equal(t, i+1, requests)
			}
			require.NotContains(t, logged.String(), "Unsolicited")
		}
	}
}

// listenAndServe serves connections, with TLS if so wished.
func listenAndServe(t *testing.T, secure bool, serve func(net.Conn, *bufio.Reader)) (url string, roots *x509.CertPool) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url = "http://" + listener.Addr().String()
	if secure {
		made := httptest.NewUnstartedServer(nil)
		made.StartTLS()
		roots = x509.NewCertPool()
		roots.AddCert(made.Certificate())
		cert := made.TLS.Certificates[0]
		made.Close()
		url = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			open.Go(func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		open.Wait()
	})
	return url, roots
}

func readRequest(in *bufio.Reader) bool {
	r, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

// Two answers in one TLS record, or in two that come together, are as unsolicited as anywhere.
func TestWhatTLSHoldsBackIsNotTheNextAnswer(t *testing.T) {
	answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	large := "HTTP/1.1 200 OK\r\nContent-Length: 4055\r\n\r\n" + strings.Repeat("x", 4055) // 4,096 bytes
	require.Len(t, large, 4096)
	unasked := "HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n"
	for name, say := range map[string][]string{
		"one record": {answer + unasked}, "two records": {answer, unasked}, "full buffer": {large + unasked}, "full buffer, two": {large, unasked},
	} {
		said := make(chan struct{}, 8)
		url, roots := listenAndServe(t, true, func(conn net.Conn, in *bufio.Reader) {
			for readRequest(in) {
				for _, text := range say {
					_, _ = io.WriteString(conn, text)
				}
				said <- struct{}{}
			}
		})
		s := newTestSender(newTestClient(t, ClientConfig{RootCAs: roots}))
		s.previewBytes = 8 << 10
		for range 4 {
			require.Equal(t, 200, orZero(try(s, Endpoint{URL: url}).StatusCode), name)
			<-said
		}
	}
	// Without the second one it is kept.
	for _, text := range []string{answer, large} {
		var mu sync.Mutex
		conns := 0
		url, roots := listenAndServe(t, true, func(conn net.Conn, in *bufio.Reader) {
			mu.Lock()
			conns++
			mu.Unlock()
			for readRequest(in) {
				_, _ = io.WriteString(conn, text)
			}
		})
		s := newTestSender(newTestClient(t, ClientConfig{RootCAs: roots}))
		s.previewBytes = 8 << 10
		for range 4 {
			require.Equal(t, 200, orZero(try(s, Endpoint{URL: url}).StatusCode))
		}
		mu.Lock()
		require.Equal(t, 1, conns)
		mu.Unlock()
	}
}

// Neither kept connections nor requests under way have goroutines of their own.
func TestNoGoroutineForAConnectionOrARequest(t *testing.T) {
	hold, arrived := make(chan struct{}), make(chan struct{}, 32)
	letGo := sync.OnceFunc(func() { close(hold) })
	defer letGo()
	url, _ := listenAndServe(t, false, func(conn net.Conn, in *bufio.Reader) {
		for readRequest(in) {
			arrived <- struct{}{}
			<-hold
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := newTestSender(newTestClient(t, ClientConfig{}))
	var wg sync.WaitGroup
	before := runtime.NumGoroutine()
	for range 32 {
		wg.Go(func() { s.attempt(ctx, testClaim(), newTarget(Endpoint{URL: url})) })
	}
	for range 32 {
		<-arrived
	}
	// 32 callers, 32 of the server's, and the one that Eventually counts in.
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+65 }, 5*time.Second, time.Millisecond)
	letGo()
	wg.Wait()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+33 }, 5*time.Second, time.Millisecond)
}

func TestShutdownInterruptsOnAKeptConnection(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lab := hostile.New(t)
	defer lab.Close()
	client := labClient(t, lab)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	var n int
	var mu sync.Mutex
	second := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that its client leaves
		mu.Lock()
		n++
		again := n == 2
		mu.Unlock()
		if again {
			close(second)
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	s := newTestSender(client)
	first := s.attempt(ctx, testClaim(), newTarget(Endpoint{URL: server.URL}))
	require.Equal(t, AttemptSucceeded, first.Status, first.Error)
	go func() {
		<-second
		cancel()
	}()
	a := s.attempt(ctx, testClaim(), newTarget(Endpoint{URL: server.URL}))
	require.Equal(t, CodeNetworkRequestCanceled, a.ErrorCode, a.Error)
	require.Contains(t, a.Error, "may have been processed")
	require.Zero(t, a.Timings.ConnectMS, "it was a kept one")
	a = s.attempt(ctx, testClaim(), newTarget(Endpoint{URL: server.URL}))
	require.Equal(t, CodeNetworkRequestCanceled, a.ErrorCode, a.Error)
}

func TestDoServesWhatUsersAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %d %v %s", r.Method, len(body), r.TransferEncoding, r.Header.Get("Expect"))
		w.(http.Flusher).Flush()
		_, _ = w.Write(bytes.Repeat([]byte("."), 10<<10))
		w.Header().Set("X-Sum", "1")
	}))
	defer server.Close()
	client := newTestClient(t, ClientConfig{})
	for _, c := range []struct {
		method string
		body   io.Reader
		length int64
		want   string
	}{
		{"POST", strings.NewReader("abc"), 3, "POST 3 [] "},
		{"POST", io.MultiReader(strings.NewReader("abc")), -1, "POST 3 [chunked] "},
		{"PUT", bytes.NewReader(make([]byte, 1<<20)), 1 << 20, "PUT 1048576 [] "},
		{"GET", nil, 0, "GET 0 [] "},
	} {
		r, err := http.NewRequest(c.method, server.URL, c.body)
		require.NoError(t, err)
		resp, err := client.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(body), c.want), "%.40s", body)
		require.Len(t, body, len(c.want)+10<<10)
		require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
		require.Equal(t, "1", resp.Trailer.Get("X-Sum"))
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 1))
		require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	}
	resp, err := client.Do(must(http.NewRequest("HEAD", server.URL, nil)))
	require.NoError(t, err)
	require.Equal(t, http.NoBody, resp.Body)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDoRefusesWhatNetHTTPRefuses(t *testing.T) {
	client := newTestClient(t, ClientConfig{})
	for name, change := range map[string]func(*http.Request){
		"header value": func(r *http.Request) { r.Header["X"] = []string{"a\r\nY: b"} },
		"header name":  func(r *http.Request) { r.Header["X\r\nY"] = []string{"a"} },
		"trailer":      func(r *http.Request) { r.Trailer = http.Header{"X": {"a\nb"}} },
		"method":       func(r *http.Request) { r.Method = "GET /x HTTP/1.1\r\nX:" },
		"path":         func(r *http.Request) { r.URL.Opaque = "/a\r\nX: y" },
		"no URL":       func(r *http.Request) { r.URL = nil },
	} {
		r := must(http.NewRequest("POST", "http://127.0.0.1:1/", nil))
		change(r)
		_, err := client.Do(r)
		require.Error(t, err, name)
	}
}

func TestClosingABodyBreaksOffItsRead(t *testing.T) {
	lab := hostile.New(t)
	resp, err := labClient(t, lab).Do(must(http.NewRequest("POST", lab.StartNamed("stalling-body").URL, nil)))
	require.NoError(t, err)
	ended := make(chan error, 1)
	read := make(chan struct{})
	go func() {
		_, _ = io.ReadFull(resp.Body, make([]byte, 4))
		close(read)
		_, err := io.Copy(io.Discard, resp.Body)
		ended <- err
	}()
	<-read
	require.NoError(t, resp.Body.Close())
	require.Error(t, <-ended)
}

func TestTheEndOfItsContextEndsDo(t *testing.T) {
	lab := hostile.New(t)
	client := labClient(t, lab)
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := fmt.Errorf("enough")
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	r := must(http.NewRequestWithContext(ctx, "POST", lab.StartNamed("hang").URL, strings.NewReader("x")))
	_, err := client.Do(r)
	require.ErrorIs(t, err, cause)
}
