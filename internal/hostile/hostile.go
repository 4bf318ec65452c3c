// Package hostile is a receiver for tests that does what real and malicious receivers do: it answers
// wrongly, too slowly, too much or not at all. Everything listens on loopback.
//
// A [Lab] holds a certificate authority and a DNS server; each [Mode] started in it is one receiver.
// A client with the lab's roots and resolver, and with loopback allowed, can talk to all of them.
package hostile

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Mode is one behaviour, and what a delivery to it must come to.
type Mode struct {
	Name string
	// Code is the error code that an attempt gets, "" for a success. Status is the status line's, 0
	// if there is none to be had.
	Code   string
	Status int
	// Slow modes last as long as the client lets them.
	Slow bool

	serve func(*conversation)
	host  string // in the URL; "" is 127.0.0.1
	tls   func(*Lab) *tls.Config
	start func(*Lab, *Server) // instead of serve: no listener, or another server altogether
}

// Lab is where receivers run, for the length of one test.
type Lab struct {
	*authority
	DNS *DNS
	t   testing.TB

	mu      sync.Mutex
	servers []*Server
}

// New starts a lab. The test's cleanup ends it and all that was started in it, unless Close did.
func New(t testing.TB) *Lab {
	t.Helper()
	l := &Lab{authority: newAuthority(t), DNS: newDNS(t), t: t}
	t.Cleanup(l.Close)
	return l
}

// Close ends all that runs in the lab and waits for its goroutines.
func (l *Lab) Close() {
	l.mu.Lock()
	servers := l.servers
	l.servers = nil
	l.mu.Unlock()
	for _, s := range servers {
		s.Close()
	}
	l.DNS.close()
}

// Server is a receiver in one mode.
type Server struct {
	Mode Mode
	URL  string

	lab      *Lab
	listener net.Listener
	requests atomic.Int64
	accepted atomic.Int64

	streamWindow, connWindow atomic.Int64
	quit                     chan struct{}
	open                     sync.WaitGroup
	mu                       sync.Mutex
	conns                    map[net.Conn]struct{}
}

// Requests is how many requests were read to their end.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Connections is how many connections were accepted.
func (s *Server) Connections() int { return int(s.accepted.Load()) }

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Start starts a receiver.
func (l *Lab) Start(m Mode) *Server {
	l.t.Helper()
	s := &Server{Mode: m, lab: l, quit: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	if m.start != nil {
		m.start(l, s)
		return s
	}
	scheme := "http"
	listener := l.listen()
	if m.tls != nil {
		scheme = "https"
	}
	s.URL = scheme + "://" + hostPort(m.host, listener) + "/hook"
	s.run(listener)
	return s
}

// StartNamed starts the mode of that name.
func (l *Lab) StartNamed(name string) *Server {
	l.t.Helper()
	for _, m := range Modes() {
		if m.Name == name {
			return l.Start(m)
		}
	}
	l.t.Fatalf("hostile: no mode %q", name)
	return nil
}

func (l *Lab) listen() net.Listener {
	l.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	return listener
}

func hostPort(host string, listener net.Listener) string {
	addr := listener.Addr().String()
	if host == "" {
		return addr
	}
	_, port, _ := net.SplitHostPort(addr)
	return net.JoinHostPort(host, port)
}

func (s *Server) run(listener net.Listener) {
	s.listener = listener
	s.open.Add(1)
	go s.accept()
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	s.lab.servers = append(s.lab.servers, s)
}

// Close ends the receiver and waits for its goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.quit:
		s.mu.Unlock()
		return
	default:
	}
	close(s.quit)
	s.listener.Close()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.open.Wait()
}

func (s *Server) accept() {
	defer s.open.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		if !s.track(conn) {
			return
		}
		go func() {
			defer s.open.Done()
			defer s.untrack(conn)
			s.talk(conn)
		}()
	}
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.quit:
		conn.Close()
		return false
	default:
	}
	s.open.Add(1)
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) untrack(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *Server) talk(raw net.Conn) {
	c := &conversation{Conn: raw, raw: raw, server: s}
	if s.Mode.tls != nil {
		if cfg := s.Mode.tls(s.lab); cfg != nil {
			secure := tls.Server(raw, cfg)
			if secure.Handshake() != nil {
				return
			}
			c.Conn = secure
		}
	}
	c.in = bufio.NewReader(c.Conn)
	s.Mode.serve(c)
}

// conversation is one connection.
type conversation struct {
	net.Conn // TLS, where the mode has it
	raw      net.Conn
	in       *bufio.Reader
	server   *Server
}

// request reads one request to its end.
func (c *conversation) request() error {
	r, err := http.ReadRequest(c.in)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	c.server.requests.Add(1)
	return nil
}

func (c *conversation) say(text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// repeat says the same until the client has enough or the test ends; every so often, or without a
// pause.
func (c *conversation) repeat(text string, pause time.Duration) {
	for c.say(text) == nil && c.wait(pause) {
	}
}

// wait reports whether the receiver still runs after that time.
func (c *conversation) wait(d time.Duration) bool {
	if d == 0 {
		return true
	}
	select {
	case <-c.server.quit:
		return false
	case <-time.After(d):
		return true
	}
}

// hang stays silent until the other side or the test ends.
func (c *conversation) hang() { _, _ = io.Copy(io.Discard, c.in) }

// reset makes the peer see ECONNRESET.
func (c *conversation) reset() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.raw.Close()
}
