package hostile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Modes are all behaviours.
func Modes() []Mode {
	modes := []Mode{
		{Name: "refused", Code: "CONNECTION_REFUSED", start: startRefused},
		{Name: "hang", Code: "TIMEOUT", Slow: true, serve: afterRequest((*conversation).hang)},
		{Name: "never-reads", Code: "TIMEOUT", Slow: true, serve: func(c *conversation) { <-c.server.quit }},
		{Name: "answers-unread", Code: "BAD_RESPONSE", Status: 413, serve: func(c *conversation) {
			if _, err := http.ReadRequest(c.in); err == nil {
				_ = c.say(status(413))
				<-c.server.quit
			}
		}},
		{Name: "reset", Code: "CONNECTION_RESET", serve: afterRequest((*conversation).reset)},
		{Name: "reset-unread", Code: "CONNECTION_RESET", serve: (*conversation).reset},
		{Name: "close", Code: "SOCKET_CLOSED", serve: afterRequest(func(*conversation) {})},
		{Name: "close-in-status-line", Code: "PROTOCOL_ERROR", serve: answering("HTTP/1.1 2")},
		{Name: "close-in-headers", Code: "SOCKET_CLOSED", serve: answering("HTTP/1.1 200 OK\r\nX-A: ")},
		{Name: "dribble-headers", Code: "TIMEOUT", Slow: true, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\nX-Slow: ")
			c.repeat("a", 20*time.Millisecond)
		})},
		{Name: "malformed-status", Code: "PROTOCOL_ERROR", serve: answering("HTTP/1.1 abc No\r\n\r\n")},
		{Name: "malformed-header", Code: "PROTOCOL_ERROR", serve: answering("HTTP/1.1 200 OK\r\nno colon\r\n\r\n")},
		{Name: "malformed-length", Code: "PROTOCOL_ERROR", serve: answering("HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n")},
		{Name: "malformed-encoding", Code: "PROTOCOL_ERROR", serve: answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\n")},
		{Name: "not-http", Code: "PROTOCOL_ERROR", serve: answering("SSH-2.0-OpenSSH_9.7\r\n")},
		{Name: "status-000", Code: "PROTOCOL_ERROR", serve: answering(status(0))},
		{Name: "header-bomb", Code: "RESPONSE_TOO_LARGE", serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\n")
			for i := 0; c.say(fmt.Sprintf("X-%d: %s\r\n", i, strings.Repeat("b", 1000))) == nil; i++ {
			}
		})},
		{Name: "endless-header", Code: "RESPONSE_TOO_LARGE", serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\nX-Long: ")
			c.repeat(strings.Repeat("b", 4096), 0)
		})},
		{Name: "flood-1xx", Code: "RESPONSE_TOO_LARGE", serve: afterRequest(func(c *conversation) {
			c.repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0)
		})},
		{Name: "drip-1xx", Code: "TIMEOUT", Slow: true, serve: afterRequest(func(c *conversation) {
			c.repeat("HTTP/1.1 102 Processing\r\n\r\n", 20*time.Millisecond)
		})},
		{Name: "redirect", Code: "BAD_RESPONSE", Status: 302,
			serve: answering("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")},
		{Name: "switching-protocols", Code: "BAD_RESPONSE", Status: 101,
			serve: afterRequest(func(c *conversation) {
				_ = c.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				c.hang()
			})},
		{Name: "retry-after", Code: "BAD_RESPONSE", Status: 503,
			serve: answering("HTTP/1.1 503 Busy\r\nRetry-After: 9223372037\r\nContent-Length: 0\r\n\r\n")},
		{Name: "no-headers", Status: 200, serve: answering("HTTP/1.1 200 OK\r\n\r\n")},
		{Name: "endless-body", Status: 200, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\n\r\n")
			c.repeat(strings.Repeat("x", 64<<10), 0)
		})},
		{Name: "dribble-body", Status: 200, Slow: true, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\n\r\n")
			c.repeat("x", 20*time.Millisecond)
		})},
		{Name: "dribble-body-500", Code: "BAD_RESPONSE", Status: 500, Slow: true, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 500 No\r\n\r\n")
			c.repeat("x", 20*time.Millisecond)
		})},
		{Name: "stalling-body", Status: 200, Slow: true, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			c.hang()
		})},
		{Name: "broken-body", Status: 200, serve: answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")},
		{Name: "reset-body", Status: 200, serve: afterRequest(func(c *conversation) {
			_ = c.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			c.wait(50 * time.Millisecond)
			c.reset()
		})},
		{Name: "bad-chunk", Status: 200, serve: answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n")},
		{Name: "gzip-bomb", Status: 200, serve: afterRequest(serveGzipBomb)},
		{Name: "dirty-text", Status: 200, serve: answering("HTTP/1.1 200 OK\r\nX-Dirty: a\xffb\xc3\r\n" +
			"Content-Length: 7\r\n\r\na\x00b\xff\xe2\x82c")},
		{Name: "two-answers", Status: 200, serve: answering(
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")},
		{Name: "stale-keep-alive", Status: 200, serve: secondGets("")},
		// Only the second request of a connection fails, and it was answered: no reason to repeat it.
		{Name: "stale-mid-answer", Status: 200, serve: secondGets("HTTP/1.1 200 OK\r\nX-A: ")},
	}
	for _, code := range []int{99, 304, 400, 404, 410, 429, 500, 502, 600, 999} {
		m := Mode{Name: fmt.Sprintf("status-%03d", code), Code: "BAD_RESPONSE", Status: code, serve: answering(status(code))}
		if code == 410 {
			m.Code = "ENDPOINT_GONE"
		}
		modes = append(modes, m)
	}
	for _, code := range []int{200, 204, 299} {
		modes = append(modes, Mode{Name: fmt.Sprintf("status-%d", code), Status: code, serve: answering(status(code))})
	}
	return append(append(modes, tlsModes()...), append(http2Modes(), dnsModes()...)...)
}

func status(code int) string {
	return fmt.Sprintf("HTTP/1.1 %03d Text\r\nContent-Length: 0\r\n\r\n", code)
}

// afterRequest behaves like f once a request was read, and closes after it.
func afterRequest(f func(*conversation)) func(*conversation) {
	return func(c *conversation) {
		if c.request() == nil {
			f(c)
		}
	}
}

// answering gives each request of a connection the same text and then closes it, so that a client
// which takes the text for a whole answer sees no more than that.
func answering(text string) func(*conversation) {
	return afterRequest(func(c *conversation) { _ = c.say(text) })
}

// startRefused takes a port where nobody listens, by a connection that goes out from it: a port that was
// merely closed may be another test's by the time it is dialled.
func startRefused(l *Lab, s *Server) {
	listener := l.listen()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		l.t.Fatal(err)
	}
	s.listener = &takenPort{listener, conn}
	s.URL = "http://" + s.Addr() + "/hook"
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers = append(l.servers, s)
}

type takenPort struct {
	net.Listener
	conn net.Conn
}

func (p *takenPort) Addr() net.Addr { return p.conn.LocalAddr() }

func (p *takenPort) Close() error { return errors.Join(p.conn.Close(), p.Listener.Close()) }

// serveGzipBomb sends what unpacks to a thousand times as much, without end.
func serveGzipBomb(c *conversation) {
	_ = c.say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
	c.repeat(gzipBomb(), 0)
}

var gzipBomb = sync.OnceValue(func() string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = io.Copy(w, io.LimitReader(zeroes{}, 8<<20))
	w.Close()
	return packed.String()
})

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// secondGets answers the first request of each connection well, and the second with that text and a
// close. With no text it is a server whose keep-alive time ran out while the request was under way.
func secondGets(text string) func(*conversation) {
	return func(c *conversation) {
		if c.request() == nil && c.say(status(200)) == nil && c.request() == nil {
			_ = c.say(text)
		}
	}
}
