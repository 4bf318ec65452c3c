package webhook

import (
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/hostile"
)

func TestConnectionsAreKeptAndAge(t *testing.T) {
	var conns connCounter
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	server.Config.ConnState = conns.count
	server.Start()
	defer server.Close()

	kept := newTestSender(newTestClient(t, ClientConfig{}))
	for range 5 {
		require.Equal(t, AttemptSucceeded, try(kept, Endpoint{URL: server.URL}).Status)
	}
	require.Equal(t, 1, conns.opened())

	aging := newTestSender(newTestClient(t, ClientConfig{MaxConnAge: time.Nanosecond}))
	for range 3 {
		require.Equal(t, AttemptSucceeded, try(aging, Endpoint{URL: server.URL}).Status)
	}
	require.Equal(t, 4, conns.opened())

	none := newTestSender(newTestClient(t, ClientConfig{MaxIdlePerHost: -1}))
	for range 3 {
		require.Equal(t, AttemptSucceeded, try(none, Endpoint{URL: server.URL}).Status)
	}
	require.Equal(t, 7, conns.opened())
}

// An idle connection is closed when its time is up, also if nobody asks for it.
func TestIdleConnectionsAreSwept(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	s := newTestSender(newTestClient(t, ClientConfig{MaxConnAge: 50 * time.Millisecond}))
	require.Equal(t, 404, *try(s, Endpoint{URL: server.URL}).StatusCode)
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection is still open")
	}
}

func TestHTTP2IsShared(t *testing.T) {
	var conns connCounter
	release, arrived := make(chan struct{}), make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = conns.count
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	client := newTestClient(t, ClientConfig{RootCAs: roots})
	s := newTestSender(client)
	a := try(s, Endpoint{URL: server.URL})
	require.Equal(t, "HTTP/2.0", *a.ResponseBodyPreview, a.Error)
	require.Positive(t, a.Timings.TLSMS)

	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if a := try(s, Endpoint{URL: server.URL + "/wait"}); a.Status != AttemptSucceeded {
				t.Error(a.Error)
			}
		})
	}
	for range 10 {
		<-arrived
	}
	require.Equal(t, 1, conns.opened())
	// What is closed while it serves goes on until its last request ends.
	client.CloseIdleConnections()
	close(release)
	wg.Wait()
	require.Equal(t, AttemptSucceeded, try(s, Endpoint{URL: server.URL}).Status)
	require.Equal(t, 2, conns.opened())
}

func TestKeptConnectionsAreBounded(t *testing.T) {
	lab := hostile.New(t)
	var live liveConns
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		live.arrive()
	}))
	server.Config.ConnState = live.count
	server.Start()
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	client := labClient(t, lab, func(cfg *ClientConfig) { cfg.MaxIdlePerHost = 2 })
	client.pool.total = 5
	s := newTestSender(client)

	live.gather(6)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { try(s, Endpoint{URL: server.URL}) })
	}
	wg.Wait()
	require.Eventually(t, func() bool { return live.open() == 2 }, 5*time.Second, time.Millisecond)

	live.gather(1)
	for _, host := range []string{"a", "b", "c", "d", "e", "f"} {
		try(s, Endpoint{URL: "http://" + host + ".test:" + port})
	}
	require.Eventually(t, func() bool { return live.open() == 5 }, 5*time.Second, time.Millisecond)
	client.CloseIdleConnections()
	require.Eventually(t, func() bool { return live.open() == 0 }, 5*time.Second, time.Millisecond)
}

type connCounter struct {
	mu sync.Mutex
	n  int
}

func (c *connCounter) count(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.n++
	}
}

func (c *connCounter) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// liveConns counts open connections, and holds requests until so many have come.
type liveConns struct {
	mu      sync.Mutex
	n       int
	missing int
	all     chan struct{} // closed when nobody is missing
}

func (l *liveConns) gather(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missing, l.all = n, make(chan struct{})
}

func (l *liveConns) arrive() {
	l.mu.Lock()
	all := l.all
	if l.missing--; l.missing == 0 {
		close(all)
	}
	l.mu.Unlock()
	<-all
}

func (l *liveConns) count(_ net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		l.n++
	case http.StateClosed:
		l.n--
	}
}

func (l *liveConns) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}
