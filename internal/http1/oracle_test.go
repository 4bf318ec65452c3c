package http1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/http1"
)

const limit = 64 << 10

// script is a connection that says a text in pieces and then ends.
type script struct {
	net.Conn
	pieces [][]byte
	end    error
	reads  int
}

func (s *script) Read(p []byte) (int, error) {
	s.reads++
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, s.end
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)   { return len(p), nil }
func (s *script) SetDeadline(_ time.Time) error { return nil }
func (s *script) Close() error                  { return nil }

// verdict is what a client made of what a server said.
type verdict struct {
	failed  bool // no response
	status  int
	proto   string
	header  http.Header
	length  int64
	body    string
	cut     bool // the body broke off
	trailer http.Header
	reuse   bool
}

func pieces(text []byte, size int) [][]byte {
	if size <= 0 {
		return [][]byte{bytes.Clone(text)}
	}
	return slices.Collect(slices.Chunk(bytes.Clone(text), size))
}

type silent struct{}

func (silent) Wrote()     {}
func (silent) FirstByte() {}

func ours(t testing.TB, text []byte, size int, method string) (v verdict, err error) {
	conn := &script{pieces: pieces(text, size), end: io.EOF}
	wire := http1.NewWire(conn, false)
	c := http1.NewConn(wire, wire, limit)
	require.NoError(t, c.Begin(context.Background(), time.Time{}, silent{}))
	require.NoError(t, c.Send([]byte("GET / HTTP/1.1\r\n\r\n")))
	head, err := c.ReadHead(method == "HEAD")
	if err != nil {
		require.False(t, c.Finish())
		v.failed = true
		return v, err
	}
	v = verdict{status: head.Code, proto: head.Proto, header: http.Header{}, length: head.ContentLength, trailer: http.Header{}}
	for _, f := range head.Fields {
		v.header[f.Name] = append(v.header[f.Name], f.Value)
	}
	var body []byte
	if head.Code != http.StatusSwitchingProtocols {
		body, err = io.ReadAll(c)
	}
	v.body, v.cut = string(body), err != nil
	for _, f := range c.Trailer() {
		v.trailer[f.Name] = append(v.trailer[f.Name], f.Value)
	}
	// What is still to come would be found before the connection is used again.
	v.reuse = c.Finish() && len(slices.Concat(conn.pieces...)) == 0
	return v, nil
}

// theirs is http.ReadResponse, and around it what net/http's Transport does: skip 1xx, bound the heads,
// and keep a connection only if nothing speaks against it.
func theirs(text []byte, size int, method string) (v verdict, err error) {
	conn := &script{pieces: pieces(text, size), end: io.EOF}
	limited := &headLimit{r: conn, left: limit}
	in := bufio.NewReader(limited)
	r := &http.Request{Method: method}
	var resp *http.Response
	for {
		resp, err = http.ReadResponse(in, r)
		if err != nil && limited.left <= 0 {
			err = errLimit // whatever else is wrong with what was cut off there
		}
		if err != nil {
			return verdict{failed: true}, err
		}
		if resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	limited.left = 1 << 40
	v = verdict{status: resp.StatusCode, proto: resp.Proto, header: resp.Header, length: resp.ContentLength, trailer: http.Header{}}
	var body []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, err = io.ReadAll(resp.Body)
	}
	v.body, v.cut = string(body), err != nil
	if err == nil {
		for name, values := range resp.Trailer {
			if values != nil {
				v.trailer[name] = values
			}
		}
	}
	v.reuse = err == nil && !resp.Close && resp.StatusCode > 199 && in.Buffered() == 0 && len(slices.Concat(conn.pieces...)) == 0 && !limited.ended
	return v, nil
}

type headLimit struct {
	r     io.Reader
	left  int64
	ended bool
}

var errLimit = errors.New("limit")

func (l *headLimit) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLimit
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	l.ended = l.ended || err != nil
	return n, err
}

const bufferSize = 4096 // bufio's

// agree holds both clients' readings against each other.
func agree(t testing.TB, text []byte, size int, method string) (verdict, error) {
	t.Helper()
	mine, err := ours(t, text, size, method)
	other, otherErr := theirs(text, size, method)
	require.Equal(t, other.failed, mine.failed, "ours: %v, net/http: %v, of %.300q", err, otherErr, text)
	if mine.failed {
		require.Equal(t, errors.Is(otherErr, errLimit), errors.Is(err, http1.ErrTooLarge), "ours: %v, net/http: %v", err, otherErr)
		if last := text[bytes.LastIndexByte(text, '\n')+1:]; len(last) > 0 && len(last)%bufferSize == 0 {
			return mine, err // net/http misses a line where it met the end of its buffer, and says that the text is cut
		}
		var malformed *http1.Malformed
		require.Equal(t, !errors.Is(otherErr, errLimit) && !errors.Is(otherErr, io.ErrUnexpectedEOF), errors.As(err, &malformed),
			"ours: %v, net/http: %v, of %.300q", err, otherErr, text)
		return mine, err
	}
	require.Equal(t, other, mine, "of %.300q in pieces of %d", text, size)
	return mine, nil
}

// framings is what servers say, and what those who mean harm do.
func framings() map[string]string {
	ok := "HTTP/1.1 200 OK\r\n"
	chunk := ok + "Transfer-Encoding: chunked\r\n\r\n"
	long := strings.Repeat("x", 5000)
	m := map[string]string{
		"empty": "", "length": ok + "Content-Length: 3\r\n\r\nabc", "length short": ok + "Content-Length: 5\r\n\r\nabc",
		"length long": ok + "Content-Length: 2\r\n\r\nabc", "length twice the same": ok + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"length twice": ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "length list": ok + "Content-Length: 3, 3\r\n\r\nabc",
		"length plus": ok + "Content-Length: +3\r\n\r\nabc", "length hex": ok + "Content-Length: 0x3\r\n\r\nabc",
		"length empty": ok + "Content-Length:\r\n\r\nabc", "length huge": ok + "Content-Length: 9223372036854775808\r\n\r\nabc",
		"length max": ok + "Content-Length: 9223372036854775807\r\n\r\nabc", "length spaces": ok + "Content-Length: \t 3 \t\r\n\r\nabc",
		"length with space before colon": ok + "Content-Length : 3\r\n\r\nabc", "length underscore": ok + "Content_Length: 3\r\n\r\nabc",
		"length -0": ok + "Content-Length: -0\r\n\r\n", "length 00": ok + "Content-Length: 003\r\n\r\nabc",
		"both":                   ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"both other way":         ok + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"both, bad length":       ok + "Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
		"encoding gzip, chunked": ok + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"encoding twice":         ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"encoding identity":      ok + "Transfer-Encoding: identity\r\n\r\nabc", "encoding upper": ok + "TRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
		"encoding kelvin": ok + "Transfer-Encoding: chun\u212aed\r\n\r\n0\r\n\r\n", "encoding with vt": ok + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"encoding with space before colon": ok + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"encoding folded":                  ok + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"encoding empty":                   ok + "Transfer-Encoding:\r\n\r\nabc", "encoding 1.0": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunks": chunk + "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "chunk bare LF": chunk + "3\nabc\r\n0\r\n\r\n", "chunk data LF": chunk + "3\r\nabc\n0\r\n\r\n",
		"chunk size spaces": chunk + "3 \t\r\nabc\r\n0\r\n\r\n", "chunk leading space": chunk + " 3\r\nabc\r\n0\r\n\r\n", "chunk minus": chunk + "-3\r\nabc\r\n0\r\n\r\n",
		"chunk 0x": chunk + "0x3\r\nabc\r\n0\r\n\r\n", "chunk 16 digits": chunk + "0000000000000003\r\nabc\r\n0\r\n\r\n", "chunk 17 digits": chunk + "00000000000000003\r\nabc\r\n0\r\n\r\n",
		"chunk overflow": chunk + "ffffffffffffffff\r\nabc", "chunk half": chunk + "8000000000000000\r\nabc", "chunk c000": chunk + "c000000000000000\r\nabc", "chunk empty line": chunk + "\r\nabc\r\n0\r\n\r\n",
		"chunk cr in line": chunk + "3\r;x\r\nabc\r\n0\r\n\r\n", "chunk size cut": chunk + "3", "chunk data cut": chunk + "3\r\nab", "chunk end cut": chunk + "3\r\nabc", "chunk last cut": chunk + "3\r\nabc\r\n0\r\n",
		"chunk last half": chunk + "3\r\nabc\r\n0\r\n\r", "chunk none": chunk, "chunk then more": chunk + "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "chunk line long": chunk + "3;" + long + "\r\nabc\r\n0\r\n\r\n",
		"chunk line just": chunk + "3;" + long[:4092] + "\r\nabc\r\n0\r\n\r\n", "chunk line over": chunk + "3;" + long[:4093] + "\r\nabc\r\n0\r\n\r\n",
		"chunk big": chunk + "1388\r\n" + long + "\r\n0\r\n\r\n", "chunk noise": chunk + strings.Repeat("1;"+long[:1000]+"\r\na\r\n", 20) + "0\r\n\r\n", "chunks small": chunk + strings.Repeat("1\r\na\r\n", 3000) + "0\r\n\r\n",
		"trailer": ok + "Trailer: X-A, x-b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\r\nX-C: 2\r\n\r\n", "trailer unannounced": chunk + "0\r\nX-A: 1\r\n\r\n", "trailer LF": chunk + "0\r\nX-A: 1\n\n\r\n\r\n",
		"trailer forbidden": ok + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "trailer without chunks": ok + "Trailer: X-A\r\nContent-Length: 0\r\n\r\n", "trailer long": chunk + "0\r\nX-A: " + long + "\r\n\r\n",
		"trailer bad": chunk + "0\r\nno colon\r\n\r\n", "trailer cut": chunk + "0\r\nX-A: 1\r\n", "trailer folded": chunk + "0\r\nX-A: 1\r\n 2\r\n\r\n", "trailer leading space": chunk + "0\r\n X-A: 1\r\n\r\n", "trailer just": chunk + "0\r\nX-A: " + long[:4087] + "\r\n\r\n", "trailer over": chunk + "0\r\nX-A: " + long[:4088] + "\r\n\r\n",
		"until close": ok + "\r\nabc", "until close 1.0": "HTTP/1.0 200 OK\r\n\r\nabc", "kept 1.0": "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc", "kept 1.0 close": "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 3\r\n\r\nabc",
		"close": ok + "Connection: x, Close\r\nContent-Length: 3\r\n\r\nabc", "close twice": ok + "Connection: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", "close long s": ok + "Connection: clo\u017fe\r\nContent-Length: 3\r\n\r\nabc",
		"0.9": "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", "2.0": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "9.9": "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n", "1.10": "HTTP/1.10 200 OK\r\n\r\n", "http": "http/1.1 200 OK\r\n\r\n", "1": "HTTP/1 200 OK\r\n\r\n",
		"204 with length": "HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc", "204 chunked": "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "304": "HTTP/1.1 304 No\r\nContent-Length: 3\r\n\r\n", "204 bad length": "HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n",
		"no reason": "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "reason empty": "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "spaces": "HTTP/1.1   200 OK\r\nContent-Length: 0\r\n\r\n", "tab": "HTTP/1.1\t200 OK\r\n\r\n", "code short": "HTTP/1.1 20 OK\r\n\r\n", "code long": "HTTP/1.1 2000 OK\r\n\r\n", "code +20": "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", "code -20": "HTTP/1.1 -20 OK\r\n\r\n", "code -00": "HTTP/1.1 -00 OK\r\nContent-Length: 0\r\n\r\n", "code 2_0": "HTTP/1.1 2_0 OK\r\n\r\n", "code 099": "HTTP/1.1 099 OK\r\nContent-Length: 1\r\n\r\na", "code 600": "HTTP/1.1 600 OK\r\nContent-Length: 1\r\n\r\na",
		"leading newline": "\r\nHTTP/1.1 200 OK\r\n\r\n", "ssh": "SSH-2.0-x\r\n", "status line cut": "HTTP/1.1 2", "status line whole": "HTTP/1.1 200 OK", "LF only": "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "CR CR LF": "HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\r\n\r\n", "CR in value": ok + "X: a\rb\r\n\r\n", "NUL in value": ok + "X: a\x00b\r\n\r\n", "DEL in value": ok + "X: a\x7fb\r\n\r\n", "latin1": ok + "X: a\xffb\r\nContent-Length: 0\r\n\r\n",
		"name empty": ok + ": x\r\n\r\n", "name with tab": ok + "X\t: x\r\n\r\n", "name utf8": ok + "X\u00e9: x\r\n\r\n", "name with spaces": ok + "x y z : v\r\nContent-Length: 0\r\n\r\n", "no colon": ok + "nothing\r\n\r\n", "first folded": ok + " X: a\r\n\r\n", "first blank": ok + " \r\n\r\n", "folded": ok + "X: a\r\n\tb\r\n   c  \r\nContent-Length: 0\r\n\r\n", "folded empty": ok + "X: a\r\n \r\n \r\nContent-Length: 0\r\n\r\n", "folded first empty": ok + "X:\r\n a\r\nContent-Length: 0\r\n\r\n", "folded at end": ok + "X: a\r\n ", "folded colonless": ok + "X\r\n : a\r\n\r\n", "folded control": ok + "X: a\r\n \x01\r\n\r\n",
		"values spaces": ok + "X:   a b\t \r\nX:\r\nx: c\r\nContent-Length: 0\r\n\r\n", "pragma": ok + "Pragma: no-cache\r\nContent-Length: 0\r\n\r\n", "pragma and more": ok + "Pragma: no-cache\r\nCache-Control: x\r\nContent-Length: 0\r\n\r\n", "pragma second": ok + "Pragma: a\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n",
		"100 then 200": "HTTP/1.1 100 Go\r\n\r\n" + ok + "Content-Length: 3\r\n\r\nabc", "103 bad length": "HTTP/1.1 103 Go\r\nContent-Length: x\r\n\r\n" + ok + "\r\n", "103 bad encoding": "HTTP/1.1 103 Go\r\nTransfer-Encoding: x\r\n\r\n" + ok + "\r\n", "103 with body": "HTTP/1.1 103 Go\r\nContent-Length: 3\r\n\r\nabc" + ok + "\r\n", "100 only": "HTTP/1.1 100 Go\r\n\r\n", "101": "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc", "103 bad header": "HTTP/1.1 103 Go\r\nx\r\n\r\n",
		"1xx flood": strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 2000), "header bomb": ok + strings.Repeat("X: "+long[:1000]+"\r\n", 80) + "\r\n", "line bomb": ok + "X: " + strings.Repeat("y", 70000), "large header": ok + strings.Repeat("X: "+long[:1000]+"\r\n", 60) + "Content-Length: 1\r\n\r\na",
		"two answers": ok + "Content-Length: 0\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", "body in pieces": ok + "Content-Length: 5000\r\n\r\n" + long, "header cut": ok + "X: ", "header cut in name": ok + "Conten", "header cut after line": ok + "X: a\r\n", "header cut at a buffer's end": ok + long[:bufferSize], "header cut before it": ok + long[:bufferSize-1],
	}
	for _, n := range []int{-1, 0, 1} { // around the limit
		head := ok + "Content-Length: 0\r\nX: "
		m[fmt.Sprintf("limit%+d", n)] = head + strings.Repeat("z", limit-len(head)-4+n) + "\r\n\r\n"
	}
	return m
}

func TestFramingsAreReadAsNetHTTPReadsThem(t *testing.T) {
	for name, text := range framings() {
		for _, size := range []int{0, 1, 7, 1000} {
			for _, method := range []string{"POST", "HEAD"} {
				t.Run(fmt.Sprintf("%s in %d to %s", name, size, method), func(t *testing.T) {
					_, _ = agree(t, []byte(text), size, method)
				})
			}
		}
	}
}

// FuzzResponse feeds both clients with what a server might say. Whatever it is, they agree, and ours
// reads not beyond its limits.
func FuzzResponse(f *testing.F) {
	for _, text := range framings() {
		if len(text) < 8<<10 {
			f.Add([]byte(text), 0, false)
			f.Add([]byte(text), 3, true)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, size int, head bool) {
		method := "POST"
		if head {
			method = "HEAD"
		}
		_, _ = agree(t, text, size&1023, method)
	})
}
