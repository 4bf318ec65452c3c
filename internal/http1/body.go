package http1

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// body is what of a response's body is still to come.
type body struct {
	kind bodyKind
	left uint64 // of a body of known length, or of a chunk

	inChunks bool  // past the first chunk's size line
	excess   int64 // bytes of chunked framing beyond what is reasonable
	trailer  []Field
}

type bodyKind uint8

const (
	noBody bodyKind = iota
	ofLength
	chunked
	untilClose
)

// frame finds out from the header how the body is framed, by RFC 9112 as strictly as net/http, and takes
// from the header what net/http does.
func (c *Conn) frame(toHEAD bool) error {
	h := &c.head
	if h.Proto == "" { // a plain 1xx
		return nil
	}
	c.cacheControl()
	h.Close = c.shouldClose()
	if err := c.transferEncoding(); err != nil {
		return err
	}
	length, err := c.contentLength()
	if err != nil {
		return err
	}
	allowed := !toHEAD && h.Code/100 != 1 && h.Code != 204 && h.Code != 304
	h.ContentLength = length
	switch {
	case !allowed && !toHEAD:
		h.ContentLength = 0
	case h.Chunked && allowed:
		h.drop("Content-Length")
		h.ContentLength = -1
		c.body.kind = chunked
	case allowed && length > 0:
		c.body.kind, c.body.left = ofLength, uint64(length)
	case allowed && length < 0:
		c.body.kind, h.Close = untilClose, true
	}
	return c.trailers()
}

// cacheControl is RFC 7234's reading of an old header, which net/http shows.
func (c *Conn) cacheControl() {
	h := &c.head
	pragma, has := "", false
	for _, f := range h.Fields {
		if f.Name == "Cache-Control" {
			return
		}
		if f.Name == "Pragma" && !has {
			pragma, has = f.Value, true
		}
	}
	if pragma == "no-cache" {
		h.Fields = append(h.Fields, Field{"Cache-Control", "no-cache"})
	}
}

func (c *Conn) shouldClose() bool {
	h := &c.head
	if h.Major < 1 {
		return true
	}
	wantsClose := h.hasToken("Connection", "close")
	if h.Major == 1 && h.Minor == 0 {
		return wantsClose || !h.hasToken("Connection", "keep-alive")
	}
	if wantsClose {
		h.drop("Connection")
	}
	return wantsClose
}

func (h *Head) hasToken(name, token string) bool {
	for _, f := range h.Fields {
		if f.Name != name {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ",") {
			if asciiEqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func (h *Head) drop(name string) {
	h.Fields = slices.DeleteFunc(h.Fields, func(f Field) bool { return f.Name == name })
}

// transferEncoding takes one header, "chunked", or none.
func (c *Conn) transferEncoding() error {
	h := &c.head
	n, value := 0, ""
	for _, f := range h.Fields {
		if f.Name == "Transfer-Encoding" {
			n, value = n+1, f.Value
		}
	}
	if n == 0 {
		return nil
	}
	h.drop("Transfer-Encoding")
	if h.Major < 1 || h.Major == 1 && h.Minor < 1 {
		return nil
	}
	if n > 1 || !asciiEqualFold(value, "chunked") {
		return &Malformed{"unsupported transfer encoding " + strconv.Quote(value[:min(len(value), 80)])}
	}
	h.Chunked = true
	return nil
}

// asciiEqualFold, unlike strings.EqualFold, does not take the Kelvin sign for a k.
func asciiEqualFold(s, t string) bool { return len(s) == len(t) && strings.EqualFold(s, t) }

// contentLength is -1 if there is none. Several are one if they say the same.
func (c *Conn) contentLength() (int64, error) {
	h := &c.head
	n, first := 0, ""
	for _, f := range h.Fields {
		if f.Name != "Content-Length" {
			continue
		}
		value := strings.Trim(f.Value, " \t")
		if n++; n == 1 {
			first = value
		} else if value != first {
			return 0, &Malformed{"several Content-Length headers"}
		}
	}
	if n == 0 {
		return -1, nil
	}
	if n > 1 {
		h.drop("Content-Length")
		h.Fields = append(h.Fields, Field{"Content-Length", first})
	}
	length, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return 0, &Malformed{"Content-Length " + strconv.Quote(first[:min(len(first), 80)])}
	}
	return int64(length), nil
}

// trailers notes what is announced to follow a chunked body.
func (c *Conn) trailers() error {
	h := &c.head
	if !h.Chunked {
		return nil
	}
	found := false
	for _, f := range h.Fields {
		if f.Name != "Trailer" {
			continue
		}
		found = true
		for part := range strings.SplitSeq(f.Value, ",") {
			name := []byte(strings.Trim(part, " \t"))
			if len(name) == 0 {
				continue
			}
			canonical(name)
			switch string(name) {
			case "Transfer-Encoding", "Trailer", "Content-Length":
				return &Malformed{"trailer key " + string(name)}
			}
			h.Trailers = append(h.Trailers, string(name))
		}
	}
	if found {
		h.drop("Trailer")
	}
	return nil
}

var (
	errLineTooLong = errors.New("chunk line too long")
	errChunk       = errors.New("malformed chunked encoding")
	errNonData     = errors.New("chunked encoding contains too much non-data")
	errTrailer     = errors.New("trailer too long, or broken off")
)

// Read reads the body. At its end, as the framing has it, it returns io.EOF; io.ErrUnexpectedEOF if the
// connection ended before.
func (c *Conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	switch c.body.kind {
	case noBody:
		return 0, io.EOF
	case untilClose:
		if n, err = c.readData(p); errors.Is(err, io.EOF) {
			c.body.kind = noBody
		}
		return n, err
	case ofLength:
		n, err = c.readData(p[:min(uint64(len(p)), c.body.left)])
		if c.body.left -= uint64(n); c.body.left == 0 {
			c.body.kind = noBody
			return n, io.EOF
		}
		return n, noEOF(err)
	}
	n, whole, err := c.readChunked(p)
	switch {
	case err != nil:
		c.broken, c.err = true, noEOF(err)
		return n, c.err
	case whole:
		c.body = body{trailer: c.body.trailer}
		return n, io.EOF
	}
	return n, nil
}

// Trailer is what followed a chunked body that was read to its end.
func (c *Conn) Trailer() []Field { return c.body.trailer }

// readData reads what is there, or waits for something.
func (c *Conn) readData(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.r == c.w {
		c.r, c.w = 0, 0
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.scratch.buf[c.r:c.w])
	c.r += n
	return n, nil
}

// readChunked reads as much as it can without waiting, but something.
func (c *Conn) readChunked(p []byte) (n int, whole bool, err error) {
	b := &c.body
	for n < len(p) {
		if b.left == 0 {
			if n > 0 && !c.chunkLineHere() {
				break
			}
			if err := c.nextChunk(); err != nil {
				return n, false, err
			}
			if b.left == 0 {
				return n, true, c.readTrailer()
			}
		}
		if n > 0 && c.r == c.w {
			break
		}
		m, err := c.readData(p[n : n+int(min(uint64(len(p)-n), b.left))])
		n += m
		b.left -= uint64(m)
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// chunkLineHere reports whether the end of the chunk and the next one's size are in the buffer.
func (c *Conn) chunkLineHere() bool {
	here := c.scratch.buf[c.r:c.w]
	return len(here) > 2 && bytes.IndexByte(here[2:], '\n') >= 0
}

// maxLine is how long a chunk's size with its extensions, and a trailer, may be.
const maxLine = 4096

// nextChunk reads what stands between the data of two chunks.
func (c *Conn) nextChunk() error {
	if c.body.inChunks {
		if err := c.lookahead(2); err != nil {
			return err
		}
		if string(c.scratch.buf[c.r:c.r+2]) != "\r\n" {
			return errChunk
		}
		c.r += 2
	}
	c.body.inChunks = true
	text, err := c.chunkLine()
	if err != nil {
		return err
	}
	overhead := int64(len(text)) + 2
	text, _, _ = bytes.Cut(bytes.TrimRight(text, " \t"), []byte(";"))
	size, err := parseHex(text)
	if err != nil {
		return err
	}
	c.body.left = size
	// One byte in a chunk is legitimate; extensions without end are not.
	if c.body.excess = max(0, c.body.excess+overhead-(16+2*int64(size))); c.body.excess > 16<<10 {
		return errNonData
	}
	return nil
}

// lookahead reads until n bytes are there; n is at most the buffer's size.
func (c *Conn) lookahead(n int) error {
	for c.w-c.r < n {
		if c.r > 0 {
			c.compact()
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
	return nil
}

// chunkLine returns a line without its CRLF, the only ending that it may have.
func (c *Conn) chunkLine() ([]byte, error) {
	for scanned := 0; ; {
		here := c.scratch.buf[c.r:c.w]
		end := bytes.IndexByte(here[scanned:], '\n') + scanned
		if end < scanned {
			if scanned = len(here); scanned >= maxLine {
				return nil, errLineTooLong
			}
			if err := c.lookahead(scanned + 1); err != nil {
				return nil, err
			}
			continue
		}
		if end >= maxLine {
			return nil, errLineTooLong
		}
		c.r += end + 1
		if bytes.IndexByte(here[:end], '\r') != end-1 || end == 0 {
			return nil, errChunk
		}
		return here[:end-1], nil
	}
}

func parseHex(text []byte) (n uint64, err error) {
	if len(text) == 0 || len(text) > 16 {
		return 0, errChunk
	}
	for _, b := range text {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, errChunk
		}
		n = n<<4 | uint64(b)
	}
	return n, nil
}

// readTrailer reads what follows the last chunk.
func (c *Conn) readTrailer() error {
	if err := c.lookahead(2); err != nil {
		return errTrailer
	}
	if string(c.scratch.buf[c.r:c.r+2]) == "\r\n" {
		c.r += 2
		return nil
	}
	for n := 4; !bytes.Contains(c.scratch.buf[c.r:min(c.w, c.r+maxLine)], []byte("\r\n\r\n")); n = c.w - c.r + 1 {
		if n > maxLine {
			return errTrailer
		}
		if err := c.lookahead(n); err != nil {
			return errTrailer
		}
	}
	if err := c.fieldLines(); err != nil {
		return err
	}
	for _, l := range c.scratch.lines {
		b := c.scratch.buf
		c.body.trailer = append(c.body.trailer, Field{string(b[l.name:l.nameEnd]), string(b[l.value:l.valueEnd])})
	}
	return nil
}
