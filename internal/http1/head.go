package http1

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Head is a response without its body. Its fields are valid until Finish, its strings for ever.
type Head struct {
	Proto, Status string // "HTTP/1.1", "200 OK"
	Major, Minor  int
	Code          int
	Fields        []Field // names canonical, in the order of the response
	ContentLength int64   // -1: unknown
	Chunked       bool
	Close         bool     // the connection ends with the response
	Trailers      []string // names announced
	Size          int      // bytes of the head, which its strings keep in memory
}

// Field is one header line.
type Field struct{ Name, Value string }

// Get returns the first value of a header with that canonical name, or "".
func (h *Head) Get(name string) string {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			return h.Fields[i].Value
		}
	}
	return ""
}

// scratch is what an exchange needs and an idle connection does not.
type scratch struct {
	buf    []byte
	lines  []line
	fields []Field
}

// line is a header line in the buffer.
type line struct{ name, nameEnd, value, valueEnd int }

var scratches = sync.Pool{New: func() any { return &scratch{buf: make([]byte, bufferSize)} }}

func (s *scratch) grow() { s.buf = append(s.buf, make([]byte, len(s.buf))...) }

func (s *scratch) release() {
	if len(s.buf) > bufferSize {
		s.buf = make([]byte, bufferSize)
	}
	clear(s.fields[:cap(s.fields)])
	s.lines, s.fields = s.lines[:0], s.fields[:0]
	scratches.Put(s)
}

// ReadHead reads up to the body of the final response, or of one with status 101. A response to HEAD
// has no body.
func (c *Conn) ReadHead(toHEAD bool) (*Head, error) {
	for {
		err := c.readHead()
		if err == nil {
			err = c.frame(toHEAD)
		}
		if err != nil {
			c.broken = true
			if fault := c.writeFault(); fault != nil && !c.answered {
				err = fault
			}
			return nil, err
		}
		if h := &c.head; h.Code < 100 || h.Code > 199 || h.Code == http.StatusSwitchingProtocols {
			c.scratch.lines = c.scratch.lines[:0]
			return h, nil
		}
		c.body = body{}
	}
}

// readHead reads one status line and header. Until it is done the buffer is not moved.
func (c *Conn) readHead() error {
	c.compact()
	c.head = Head{}
	s := c.scratch
	s.lines, s.fields = s.lines[:0], s.fields[:0]
	from, to, err := c.line()
	if err != nil {
		return noEOF(err)
	}
	code, err := c.statusLine(from, to)
	if err != nil {
		return err
	}
	if err := c.fieldLines(); err != nil {
		return noEOF(err)
	}
	if c.used += c.r; c.used > c.limit {
		return ErrTooLarge
	}
	if 100 <= code && code <= 199 && code != http.StatusSwitchingProtocols && c.plainInterim() {
		c.head.Code = code
		return nil
	}
	text := string(s.buf[:c.r])
	c.head.Size = len(text)
	c.setStatus(text[from:to], code)
	for _, l := range s.lines {
		s.fields = append(s.fields, Field{text[l.name:l.nameEnd], text[l.value:l.valueEnd]})
	}
	c.head.Fields = s.fields
	return nil
}

// plainInterim reports that nothing in a 1xx response bears on framing: it needs no further look.
func (c *Conn) plainInterim() bool {
	for _, l := range c.scratch.lines {
		switch string(c.scratch.buf[l.name:l.nameEnd]) {
		case "Content-Length", "Transfer-Encoding", "Trailer":
			return false
		}
	}
	return true
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// compact moves what is unread to the front of the buffer.
func (c *Conn) compact() {
	if c.r > 0 {
		c.w = copy(c.scratch.buf, c.scratch.buf[c.r:c.w])
		c.r = 0
	}
}

// more is fill for a head, whose size is limited.
func (c *Conn) more() error {
	if c.used+c.w >= c.limit {
		return ErrTooLarge
	}
	return c.fill()
}

// line returns where the next line stands, without its end. What a connection that broke leaves of a
// line is a line too.
func (c *Conn) line() (from, to int, err error) {
	for scan := c.r; ; {
		b := c.scratch.buf
		if i := bytes.IndexByte(b[scan:c.w], '\n'); i >= 0 {
			from, to = c.r, scan+i
			c.r = to + 1
			if to > from && b[to-1] == '\r' {
				to--
			}
			return from, to, nil
		}
		scan = c.w
		if err := c.more(); err != nil {
			if c.r == c.w || errors.Is(err, ErrTooLarge) || isTimeout(err) {
				return 0, 0, err
			}
			from, c.r = c.r, c.w
			return from, c.w, nil
		}
	}
}

// peek returns the next byte.
func (c *Conn) peek() (byte, error) {
	for c.r == c.w {
		if err := c.more(); err != nil {
			return 0, err
		}
	}
	return c.scratch.buf[c.r], nil
}

func (c *Conn) statusLine(from, to int) (code int, err error) {
	b := c.scratch.buf[from:to]
	proto, rest, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return 0, malformed("status line %q", b)
	}
	rest = bytes.TrimLeft(rest, " ")
	text, _, _ := bytes.Cut(rest, []byte(" "))
	if len(text) != 3 {
		return 0, malformed("status code %q", text)
	}
	if code, err = strconv.Atoi(string(text)); err != nil || code < 0 {
		return 0, malformed("status code %q", text)
	}
	if string(proto) != "HTTP/1.1" {
		if _, _, ok := http.ParseHTTPVersion(string(proto)); !ok {
			return 0, malformed("version %q", proto)
		}
	}
	return code, nil
}

func (c *Conn) setStatus(text string, code int) {
	proto, status, _ := strings.Cut(text, " ")
	h := &c.head
	h.Code, h.Proto, h.Status = code, proto, strings.TrimLeft(status, " ")
	h.Major, h.Minor = 1, 1
	if proto != "HTTP/1.1" {
		h.Major, h.Minor, _ = http.ParseHTTPVersion(proto)
	}
}

// fieldLines reads header lines up to the empty one.
func (c *Conn) fieldLines() error {
	if first, err := c.peek(); err == nil && (first == ' ' || first == '\t') {
		from, to, err := c.line()
		if err != nil {
			return err
		}
		return malformed("header begins with %q", c.scratch.buf[from:to])
	} else if isTimeout(err) {
		return err
	}
	for {
		from, to, err := c.line()
		if err != nil {
			return err
		}
		if from == to {
			return nil
		}
		if bytes.IndexByte(c.scratch.buf[from:to], ':') < 0 {
			return malformed("header line without a colon %q", c.scratch.buf[from:to])
		}
		from, to = c.trim(from, to)
		if to, err = c.unfold(to); err != nil {
			return err
		}
		if err := c.addLine(from, to); err != nil {
			return err
		}
	}
}

func (c *Conn) trim(from, to int) (int, int) {
	b := c.scratch.buf
	for from < to && isSpace(b[from]) {
		from++
	}
	for to > from && isSpace(b[to-1]) {
		to--
	}
	return from, to
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' }

// unfold joins the lines that continue the one that ends at to, each with one space between.
func (c *Conn) unfold(to int) (int, error) {
	for {
		next, err := c.peek()
		if isTimeout(err) || errors.Is(err, ErrTooLarge) {
			return 0, err
		}
		if err != nil || !isSpace(next) {
			return to, nil // a broken connection is found out about by the next line
		}
		for err == nil && isSpace(next) {
			c.r++
			next, err = c.peek()
		}
		from, end, err := c.line()
		b := c.scratch.buf
		b[to] = ' '
		to++
		if err != nil {
			return to, nil
		}
		from, end = c.trim(from, end)
		to += copy(b[to:], b[from:end])
	}
}

func (c *Conn) addLine(from, to int) error {
	b := c.scratch.buf
	colon := from + bytes.IndexByte(b[from:to], ':')
	if !canonical(b[from:colon]) {
		return malformed("header line %q", b[from:to])
	}
	value := colon + 1
	for value < to && isSpace(b[value]) {
		value++
	}
	for _, v := range b[value:to] {
		if v < ' ' && v != '\t' || v == 0x7f {
			return malformed("header line %q", b[from:to])
		}
	}
	c.scratch.lines = append(c.scratch.lines, line{from, colon, value, to})
	return nil
}

// canonical puts a name into canonical form and reports whether it may stand there. One with a space in
// it may, as it is: nothing takes it for the name without.
func canonical(name []byte) bool {
	spaced := false
	for _, b := range name {
		if b == ' ' {
			spaced = true
		} else if !isToken(b) {
			return false
		}
	}
	if spaced {
		return true
	}
	upper := true
	for i, b := range name {
		switch {
		case upper && 'a' <= b && b <= 'z':
			name[i] = b - 'a' + 'A'
		case !upper && 'A' <= b && b <= 'Z':
			name[i] = b - 'A' + 'a'
		}
		upper = b == '-'
	}
	return len(name) > 0
}

var tokens = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[b] = true
	}
	return t
}()

func isToken(b byte) bool { return tokens[b] }

// malformed quotes no more than the beginning of what was found.
func malformed(format string, found []byte) error {
	const enough = 80
	if len(found) > enough {
		found = found[:enough]
	}
	what, _, _ := strings.Cut(format, "%q")
	return &Malformed{What: what + strconv.Quote(string(found))}
}
