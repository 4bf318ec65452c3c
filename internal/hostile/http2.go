package hostile

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"strings"
)

// The HTTP/2 that is needed to misbehave in it, RFC 9113.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9

	flagEndStream  = 1
	flagAck        = 1
	flagEndHeaders = 4

	errProtocol      = 1
	errInternal      = 2
	errRefusedStream = 7
)

func http2Modes() []Mode {
	with := func(name, code string, status int, f func(c *conversation, stream uint32)) Mode {
		return Mode{Name: name, Code: code, Status: status, host: tlsHost,
			tls: func(l *Lab) *tls.Config {
				cfg := serving(l.Certificate(certParams{}))
				cfg.NextProtos = []string{"h2"}
				return cfg
			},
			serve: func(c *conversation) { c.serveHTTP2(f) },
		}
	}
	goAway := func(last, code uint32) func(*conversation, uint32) {
		return func(c *conversation, stream uint32) {
			_ = c.frame(frameGoAway, 0, 0, append(be32(last), be32(code)...))
		}
	}
	reset := func(code uint32) func(*conversation, uint32) {
		return func(c *conversation, stream uint32) { _ = c.frame(frameReset, 0, stream, be32(code)) }
	}
	return []Mode{
		with("h2", "", 200, (*conversation).ok2),
		// "None of yours was processed": the answer that makes net/http try again and again.
		with("h2-goaway", "SOCKET_CLOSED", 0, goAway(0, 0)),
		with("h2-goaway-error", "SOCKET_CLOSED", 0, func(c *conversation, stream uint32) {
			goAway(stream, errInternal)(c, stream)
			c.Close()
		}),
		with("h2-reset", "PROTOCOL_ERROR", 0, reset(errInternal)),
		with("h2-reset-protocol", "PROTOCOL_ERROR", 0, reset(errProtocol)),
		with("h2-refused-stream", "PROTOCOL_ERROR", 0, reset(errRefusedStream)),
		with("h2-reset-body", "", 200, func(c *conversation, stream uint32) {
			_ = c.frame(frameHeaders, flagEndHeaders, stream, []byte{0x88}) // :status 200
			_ = c.frame(frameData, 0, stream, []byte("half"))
			_ = c.frame(frameReset, 0, stream, be32(errInternal))
		}),
		with("h2-header-bomb", "RESPONSE_TOO_LARGE", 0, func(c *conversation, stream uint32) {
			c.bigHeaders(stream, 6)
		}),
		// So much more than allowed that the whole connection is given up.
		with("h2-header-flood", "PROTOCOL_ERROR", 0, func(c *conversation, stream uint32) {
			c.bigHeaders(stream, 1000)
		}),
		with("h2-garbage", "PROTOCOL_ERROR", 0, func(c *conversation, stream uint32) {
			_ = c.frame(frameData, 0, 0, []byte("data on stream 0"))
		}),
		with("h2-close", "SOCKET_CLOSED", 0, func(c *conversation, _ uint32) { c.Close() }),
		with("h2-stale-keep-alive", "", 200, func(c *conversation, stream uint32) {
			if stream > 1 {
				c.Close()
				return
			}
			c.ok2(stream)
		}),
	}
}

func (c *conversation) ok2(stream uint32) {
	_ = c.frame(frameHeaders, flagEndHeaders, stream, []byte{0x88})
	_ = c.frame(frameData, flagEndStream, stream, []byte("ok"))
}

// bigHeaders sends n headers of 12 KB each.
func (c *conversation) bigHeaders(stream uint32, n int) {
	block := []byte{0x88}
	for range n {
		block = append(block, literalHeader("x-bomb", strings.Repeat("b", 12000))...)
	}
	const perFrame = 16 << 10
	kind := byte(frameHeaders)
	for len(block) > perFrame {
		if c.frame(kind, 0, stream, block[:perFrame]) != nil {
			return
		}
		block, kind = block[perFrame:], frameContinuation
	}
	_ = c.frame(kind, flagEndHeaders, stream, block)
}

// serveHTTP2 calls f when a request has come to its end.
func (c *conversation) serveHTTP2(f func(c *conversation, stream uint32)) {
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return
	}
	if c.frame(frameSettings, 0, 0, nil) != nil {
		return
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return
		}
		size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		payload := make([]byte, size)
		if _, err := io.ReadFull(c.in, payload); err != nil {
			return
		}
		switch {
		case kind == frameWindow && stream == 0:
			c.server.connWindow.Add(int64(binary.BigEndian.Uint32(payload)))
		case kind == frameSettings && flags&flagAck == 0:
			c.server.note(payload)
			_ = c.frame(frameSettings, flagAck, 0, nil)
		case kind == framePing && flags&flagAck == 0:
			_ = c.frame(framePing, flagAck, 0, payload)
		case (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0:
			c.server.requests.Add(1)
			f(c, stream)
		}
	}
}

// note keeps the setting INITIAL_WINDOW_SIZE.
func (s *Server) note(settings []byte) {
	for ; len(settings) >= 6; settings = settings[6:] {
		if binary.BigEndian.Uint16(settings) == 4 {
			s.streamWindow.Store(int64(binary.BigEndian.Uint32(settings[2:])))
		}
	}
}

// Windows are how many bytes the HTTP/2 clients let themselves be sent unasked, on one stream and on
// all connections together.
func (s *Server) Windows() (stream, conns int64) {
	return s.streamWindow.Load(), s.connWindow.Load()
}

func (c *conversation) frame(kind, flags byte, stream uint32, payload []byte) error {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	b = append(append(b, be32(stream)...), payload...)
	_, err := c.Write(b)
	return err
}

// literalHeader is a header that HPACK does not remember, with a value below 16 KiB.
func literalHeader(name, value string) []byte {
	b := append([]byte{0, byte(len(name))}, name...)
	n := len(value) - 127
	b = append(b, 127)
	for n >= 128 {
		b = append(b, byte(n%128+128))
		n /= 128
	}
	return append(append(b, byte(n)), value...)
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
