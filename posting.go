package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook/internal/http1"
)

// posting is one attempt's request, ready for whatever client sends it: its connection of our own gets
// bytes, every other an *http.Request.
type posting struct {
	exchange
	leash
	target  *target
	payload []byte
	length  string // of the payload
	fields  headerFields
	room    [8]headerField // for fields, mostly
	plan    plan
	traced  context.Context // leash's, reporting to exchange; nil until somebody needs it
	shared  bool            // others may have hold of it after the attempt
}

var postings = sync.Pool{New: func() any { return new(posting) }}

func newPosting(ctx context.Context, now time.Time, timeout time.Duration, t *target, payload []byte) *posting {
	p := postings.Get().(*posting)
	p.target, p.payload = t, payload
	p.exchange.begin(now, t)
	p.body = payload
	p.leash = leash{parent: ctx, deadline: p.began.Add(timeout)}
	p.fields = p.room[:0]
	return p
}

// done ends the attempt. What nobody else can hold any more serves another one.
func (p *posting) done() {
	p.leash.release()
	if !p.shared {
		*p = posting{}
		postings.Put(p)
	}
}

// leash is how long an attempt may take. Its context is made only if somebody wants one.
type leash struct {
	parent   context.Context
	deadline time.Time

	limited context.Context // nil: not made
	cancel  context.CancelFunc
	conn    *http1.Conn // that the response is read from; nil: limited governs it
	drain   *time.Timer
}

// ends returns a context that ends with the parent and at the deadline, with errAttemptTimeout for its
// cause.
func (l *leash) ends() context.Context {
	if l.limited == nil {
		l.limited, l.cancel = context.WithDeadlineCause(l.parent, l.deadline, errAttemptTimeout)
	}
	return l.limited
}

func (l *leash) release() {
	if l.drain != nil {
		l.drain.Stop()
	}
	if l.cancel != nil {
		l.cancel()
	}
}

// hurry gives what is left to read only a moment more.
func (l *leash) hurry(d time.Duration) {
	if l.conn == nil {
		l.drain = time.AfterFunc(d, l.cancel)
	} else if soon := time.Now().Add(d); soon.Before(l.deadline) {
		l.conn.Hurry(soon)
	}
}

// over reports whether the time is up or the parent has ended.
func (l *leash) over() bool { return l.parent.Err() != nil || l.timedOut() }

func (l *leash) timedOut() bool {
	if l.limited != nil && l.limited.Err() != nil {
		return errors.Is(context.Cause(l.limited), errAttemptTimeout)
	}
	return !time.Now().Before(l.deadline)
}

// headerFields are sorted by name, as net/http sends them. A name with several values stands several
// times.
type headerFields []headerField

type headerField struct{ name, value string }

func (f headerFields) find(name string) (int, bool) {
	return slices.BinarySearchFunc(f, name, func(h headerField, name string) int {
		if h.name < name {
			return -1
		} else if h.name > name {
			return 1
		}
		return 0
	})
}

// set gives a name this value and no other.
func (f *headerFields) set(name, value string) {
	if n := len(*f); n == 0 || (*f)[n-1].name < name { // as they come, mostly
		*f = append(*f, headerField{name, value})
		return
	}
	f.remove(name)
	i, _ := f.find(name)
	*f = slices.Insert(*f, i, headerField{name, value})
}

func (f *headerFields) setAll(name string, values []string) {
	f.remove(name)
	i, _ := f.find(name)
	for _, value := range slices.Backward(values) {
		*f = slices.Insert(*f, i, headerField{name, value})
	}
}

func (f *headerFields) remove(name string) {
	for i, found := f.find(name); found; i, found = f.find(name) {
		*f = slices.Delete(*f, i, i+1)
	}
}

func (f headerFields) header() http.Header {
	h := make(http.Header, len(f))
	for _, field := range f {
		h[field.name] = append(h[field.name], field.value)
	}
	return h
}

// invalid finds a header that HTTP cannot carry.
func (f headerFields) invalid() (name string, found bool) {
	for _, field := range f {
		if !validHeaderName(field.name) || !validHeaderValue(field.value) {
			return field.name, true
		}
	}
	return "", false
}

// record is what is kept of the headers: only values that the library set itself.
func (p *posting) record(own *ownHeaders) map[string]string {
	shown := make(map[string]string, len(p.fields)+1)
	for i, f := range p.fields {
		alone := (i == 0 || p.fields[i-1].name != f.name) && (i == len(p.fields)-1 || p.fields[i+1].name != f.name)
		if alone && own.sets(f.name, f.value) {
			shown[f.name] = cleanLine(f.value, maxErrorText)
		} else {
			shown[f.name] = "[redacted]"
		}
	}
	shown["Content-Length"] = p.length
	return shown
}

// request returns the request as net/http has it.
func (p *posting) request() (*http.Request, error) {
	u := *p.target.url
	r := &http.Request{
		Method: p.target.method, URL: &u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: p.fields.header(), Body: http.NoBody, ContentLength: int64(len(p.payload)),
	}
	if len(p.payload) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(p.payload))
	}
	return r.WithContext(p.context()), nil
}

func (p *posting) context() context.Context {
	if p.traced == nil {
		p.shared = true
		p.traced = p.attach(p.ends())
	}
	return p.traced
}

func (p *posting) repeatable() bool { return true }

var requestBuffers = sync.Pool{New: func() any { return new([]byte) }}

// send writes what net/http would write.
func (p *posting) send(conn *http1.Conn) error {
	buf := requestBuffers.Get().(*[]byte)
	defer requestBuffers.Put(buf)
	b := p.appendHead((*buf)[:0])
	if !http1.Fits(len(b) + len(p.payload)) {
		return p.stream(conn, bytes.Clone(b))
	}
	b = append(b, p.payload...)
	*buf = b
	return conn.Send(b)
}

func (p *posting) stream(conn *http1.Conn, head []byte) error {
	payload := p.payload
	p.shared = true
	return conn.Stream(func(w io.Writer) error {
		first := min(len(payload), 8<<10) // not a packet for the head alone
		if _, err := w.Write(append(head, payload[:first]...)); err != nil {
			return err
		}
		_, err := w.Write(payload[first:])
		return err
	})
}

func (p *posting) appendHead(b []byte) []byte {
	b = append(b, p.target.line...)
	if i, found := p.fields.find("User-Agent"); found {
		if agent := trimOWS(p.fields[i].value); agent != "" {
			b = appendField(b, "User-Agent", agent)
		}
	}
	if len(p.payload) > 0 || p.target.method == "POST" || p.target.method == "PUT" || p.target.method == "PATCH" {
		b = appendField(b, "Content-Length", p.length)
	}
	for _, f := range p.fields {
		if f.name != "User-Agent" {
			b = appendField(b, f.name, trimOWS(f.value))
		}
	}
	return append(b, "\r\n"...)
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, value...), "\r\n"...)
}

func trimOWS(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
