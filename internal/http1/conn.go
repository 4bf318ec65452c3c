// Package http1 is a client's side of HTTP/1.1 on one connection, as narrow as webhooks allow: one
// exchange at a time, no goroutine of its own, no pipelining, no upgrade. It takes and refuses the same
// responses as net/http; the tests hold it against that.
package http1

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Conn carries one exchange after another: Begin, Send or Stream, ReadHead, Read, Finish. All but the
// context that Begin is given must come from one goroutine.
type Conn struct {
	conn  net.Conn // TLS, or the wire itself
	wire  *Wire
	limit int // bytes of a response's heads

	progress Progress
	deadline time.Time
	scratch  *scratch // during an exchange
	r, w     int      // what of its buffer is unread
	used     int      // bytes of the heads before this one
	full     bool     // the last read filled the buffer: TLS may have more
	answered bool
	broken   bool // not to be used again
	err      error
	sent     error      // why the request was not sent in full
	writer   chan error // of Stream; holds one
	head     Head
	body     body
	told     bool // Wrote was called

	mu          sync.Mutex
	watched     <-chan struct{} // the context's that can interrupt
	unwatch     func() bool
	interrupted bool
}

// Progress is told how far an exchange has come, Wrote perhaps from another goroutine.
type Progress interface {
	Wrote()     // the request was handed to the operating system
	FirstByte() // of the response
}

// The errors that are not the connection's own. Those of malformed responses are *Malformed.
var (
	// ErrNotSent wraps the reason why a kept connection could not be used: nothing was sent.
	ErrNotSent = errors.New("connection was not usable any more")
	// ErrTooLarge: the heads of the response are over the limit.
	ErrTooLarge = errors.New("response headers exceed the limit")
)

// Malformed is a response that is not HTTP/1.
type Malformed struct{ What string }

func (e *Malformed) Error() string { return "malformed HTTP response: " + e.What }

// oneWrite is how much is written before reading begins: a receiver's kernel takes that much also if
// the receiver does not. It is what fits into one TLS record.
const oneWrite = 16 << 10

// aPast is a deadline that has passed.
var aPast = time.Unix(1, 0)

// NewConn makes a connection of one that TLS, if any, has been set up on. Wire is what it stands on.
// A response's heads, 1xx ones included, may have limit bytes.
func NewConn(conn net.Conn, wire *Wire, limit int) *Conn {
	c := &Conn{conn: conn, wire: wire, limit: limit}
	wire.turn.told = c.wrote
	wire.turn.known = wire.records // its session tickets may lie there
	return c
}

// Begin begins an exchange that fails when ctx ends or the deadline, unless zero, passes. The
// connection goes on heeding ctx until Forget or another context.
func (c *Conn) Begin(ctx context.Context, deadline time.Time, p Progress) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done := ctx.Done(); done != c.watched {
		c.forget()
		if done != nil {
			c.watched, c.unwatch = done, context.AfterFunc(ctx, func() { c.interrupt(done) })
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.interrupted = false
	if err := c.wire.SetDeadline(deadline); err != nil {
		return err
	}
	c.scratch, c.deadline = scratches.Get().(*scratch), deadline
	c.progress, c.answered, c.told, c.sent, c.writer = p, false, false, nil, nil
	c.r, c.w, c.used, c.full = 0, 0, 0, false
	c.head, c.body = Head{}, body{}
	return nil
}

func (c *Conn) interrupt(done <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched == done {
		c.interrupted = true
		_ = c.wire.SetDeadline(aPast)
	}
}

// Hurry brings the deadline of an exchange nearer.
func (c *Conn) Hurry(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.interrupted {
		_ = c.wire.SetDeadline(deadline)
	}
}

// Forget ends the heed for the context of Begin.
func (c *Conn) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
}

func (c *Conn) forget() {
	if c.unwatch != nil {
		c.unwatch()
		c.watched, c.unwatch = nil, nil
	}
}

func (c *Conn) wrote() {
	c.told = true
	c.progress.Wrote()
}

// Fits reports whether a request of that size is for Send; a larger one is for Stream.
func Fits(size int) bool { return size <= oneWrite }

// overdue fails if the deadline has passed. Where a process was stopped and goes on, its timers may be late
// to tell; and others may have taken over what it was about to send.
func (c *Conn) overdue() error {
	if c.deadline.IsZero() || time.Now().Before(c.deadline) {
		return nil
	}
	c.broken = true
	return os.ErrDeadlineExceeded
}

// Send writes a whole request, unless the deadline has passed: then it fails with os.ErrDeadlineExceeded. It
// fails with ErrNotSent if the connection turns out to be of no use; other faults are for ReadHead to tell,
// as there may be an answer nevertheless.
func (c *Conn) Send(request []byte) error {
	if c.broken {
		return c.notSent(net.ErrClosed)
	}
	if err := c.overdue(); err != nil {
		return err
	}
	c.wire.eager = true
	c.wire.turn.phase, c.wire.turn.fault = writing, nil
	_, err := c.conn.Write(request)
	c.wire.eager = false
	switch {
	case err == nil:
		if !c.told {
			c.wrote()
		}
		return nil
	case c.wire.turn.phase == checking && !isTimeout(err):
		return c.notSent(c.wire.turn.fault)
	}
	c.broken, c.sent = true, err
	return nil
}

// Stream writes a request with write, in a goroutine that ends when all is written or the connection
// is closed, so that an early answer can be read. An error of write's own ends the exchange.
func (c *Conn) Stream(write func(io.Writer) error) error {
	if c.broken {
		return c.notSent(net.ErrClosed)
	}
	if !c.wire.turn.known {
		if err := c.wire.quiet(); err != nil && !isTimeout(err) {
			return c.notSent(err)
		}
	}
	if err := c.overdue(); err != nil {
		return err
	}
	done, progress := make(chan error, 1), c.progress
	c.writer, c.told = done, true
	go func() {
		w := &bodyWriter{conn: c.conn}
		err := write(w)
		if err == nil {
			progress.Wrote()
		}
		done <- err
		if err != nil && !w.failed {
			c.wire.Close()
		}
	}()
	return nil
}

// bodyWriter tells the faults of a connection from those of a body.
type bodyWriter struct {
	conn   net.Conn
	failed bool
}

func (w *bodyWriter) Write(p []byte) (int, error) {
	n, err := w.conn.Write(p)
	w.failed = w.failed || err != nil
	return n, err
}

func (c *Conn) notSent(why error) error {
	c.broken = true
	return &unusable{why}
}

type unusable struct{ why error }

func (e *unusable) Error() string   { return ErrNotSent.Error() + ": " + e.why.Error() }
func (e *unusable) Unwrap() []error { return []error{ErrNotSent, e.why} }

// writeFault is why the request was not written, if that is known by now.
func (c *Conn) writeFault() error {
	if c.sent == nil && c.writer != nil {
		select {
		case c.sent = <-c.writer:
			c.writer = nil
		default:
		}
	}
	return c.sent
}

// Head is what ReadHead returned, until Finish.
func (c *Conn) Head() *Head { return &c.head }

// HasBody reports whether there is more of a body to be read.
func (c *Conn) HasBody() bool { return c.body.kind != noBody }

// Answered reports whether a byte of the response was read.
func (c *Conn) Answered() bool { return c.answered }

// fill reads more into the buffer, which is grown if need be.
func (c *Conn) fill() error {
	if c.err != nil {
		return c.err
	}
	s := c.scratch
	if c.w == len(s.buf) {
		s.grow()
	}
	n, err := c.conn.Read(s.buf[c.w:])
	c.full = n == len(s.buf)-c.w
	c.w += n
	if err != nil {
		c.err, c.broken = err, true
	}
	if n == 0 {
		if err == nil {
			c.err = io.ErrNoProgress
		}
		return c.err
	}
	if !c.answered {
		c.answered = true
		c.progress.FirstByte()
	}
	return nil
}

// writerPatience is how long the end of an exchange waits for a request that was answered before it was
// sent in full.
const writerPatience = 50 * time.Millisecond

// Finish ends an exchange and reports whether the connection can carry another. If not, it is to be
// closed.
func (c *Conn) Finish() (reusable bool) {
	reusable = c.ended() && c.writerDone()
	if c.scratch != nil {
		c.scratch.release()
		c.scratch = nil
	}
	quiet := c.wire.rest()
	c.wire.turn.known = false
	c.broken = !reusable || !quiet
	c.progress = nil
	return !c.broken
}

func (c *Conn) ended() bool {
	return !c.broken && c.err == nil && c.head.Code > 199 && !c.head.Close && c.body.kind == noBody &&
		c.r == c.w && c.drained()
}

// drained reports whether TLS has nothing left that nobody asked for.
func (c *Conn) drained() bool {
	if !c.full || !c.wire.records {
		return true
	}
	var b [1]byte
	c.wire.dry = true
	n, err := c.conn.Read(b[:])
	c.wire.dry = false
	return n == 0 && errors.Is(err, errDry)
}

func (c *Conn) writerDone() bool {
	if c.writer == nil {
		return c.sent == nil
	}
	timer := time.NewTimer(writerPatience)
	defer timer.Stop()
	select {
	case err := <-c.writer:
		c.writer = nil
		return err == nil
	case <-timer.C:
		return false
	}
}

// Quiet reports whether a connection that carries no exchange is still of use, as far as can be seen
// without waiting.
func (c *Conn) Quiet() bool {
	err := c.wire.quiet()
	return c.wire.rest() && (err == nil || isTimeout(err)) && !c.broken
}

// Close closes the connection, without waiting for the peer; a request that is still being written ends.
func (c *Conn) Close() {
	c.Forget()
	if c.conn == net.Conn(c.wire) {
		c.wire.Close()
		return
	}
	go c.conn.Close() // TLS says goodbye first, and the peer can make that last
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
