package http1

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Wire is the connection that a [Conn] or its TLS stands on. On Unix it sends a request in one step
// with finding out that the connection was quiet since the last answer, and waits in the same step for
// the next one: that takes three system calls for an exchange, of which none is made in vain.
type Wire struct {
	net.Conn
	raw  syscall.RawConn // nil: no such step
	step func(fd uintptr) bool

	records bool // TLS reads from it: give it no byte beyond the record it is at
	left    int  // bytes of that record to be read

	in   *buffer // nil: nothing is read
	r, w int     // what of it is unread
	err  error   // of reading, for good

	dry   bool // do not wait for bytes
	eager bool // the next Write is a whole request
	turn  turn
}

// turn is the state of the one step.
type turn struct {
	phase phase
	known bool // the connection is fresh: what it has to say is not unasked for
	out   []byte
	fault error
	told  func() // the request was written
}

type phase uint8

const (
	checking phase = iota
	writing
	waiting
)

const bufferSize = 4 << 10

type buffer [bufferSize]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// ErrSpokeFirst says that the connection had bytes to read before there was a request.
var ErrSpokeFirst = errors.New("the receiver spoke before it was asked")

// errDry is what a dry read returns in place of waiting. It is temporary so that TLS survives it.
var errDry error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "nothing there" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

// NewWire wraps a connection. If TLS is to read from it, it must be told before the handshake.
func NewWire(conn net.Conn, tls bool) *Wire {
	w := &Wire{Conn: conn, records: tls}
	if s, ok := conn.(syscall.Conn); ok && canStep {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw, w.step = raw, w.advance
		}
	}
	return w
}

func (w *Wire) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !w.records {
		if w.r == w.w && len(p) >= bufferSize {
			return w.readInto(p)
		}
		if err := w.need(1); err != nil {
			return 0, err
		}
		return w.take(p), nil
	}
	if w.left == 0 {
		if err := w.beginRecord(); errors.Is(err, errDry) {
			return 0, err // half a header stays here, where it is seen
		}
	}
	if w.left >= bufferSize && w.r == w.w {
		n, err := w.readInto(p[:min(len(p), w.left)])
		w.left -= n
		return n, err
	}
	if err := w.need(1); err != nil {
		return 0, err
	}
	n := w.take(p[:min(len(p), max(w.left, 1))])
	w.left = max(w.left-n, 0)
	return n, nil
}

const recordHeader = 5

// beginRecord reads how long the next record is. If there is no whole header to be had, TLS gets to see
// what there is byte by byte.
func (w *Wire) beginRecord() error {
	err := w.need(recordHeader)
	if err == nil {
		b := w.in[w.r:]
		w.left = recordHeader + (int(b[3])<<8 | int(b[4]))
	}
	return err
}

// need reads until so many bytes are there.
func (w *Wire) need(n int) error {
	for w.w-w.r < n {
		if err := w.fill(); err != nil {
			return err
		}
	}
	return nil
}

func (w *Wire) take(p []byte) int {
	n := copy(p, w.in[w.r:w.w])
	w.r += n
	return n
}

func (w *Wire) fill() error {
	if w.err != nil {
		return w.err
	}
	if w.dry {
		return errDry
	}
	w.room()
	n, err := w.readInto(w.in[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	return err
}

// room makes place in the buffer.
func (w *Wire) room() {
	if w.in == nil {
		w.in = buffers.Get().(*buffer)
	}
	if w.r > 0 {
		w.w = copy(w.in[:], w.in[w.r:w.w])
		w.r = 0
	}
}

func (w *Wire) readInto(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.dry {
		return 0, errDry
	}
	n, err := w.Conn.Read(p)
	if err == nil && n == 0 {
		err = io.ErrNoProgress
	}
	w.err = err
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// rest gives the buffer away and reports whether there was nothing left in it.
func (w *Wire) rest() bool {
	empty := w.r == w.w && w.left == 0 && w.err == nil
	if w.in != nil {
		buffers.Put(w.in)
		w.in, w.r, w.w = nil, 0, 0
	}
	return empty
}

func (w *Wire) Write(b []byte) (int, error) {
	if !w.eager || w.raw == nil || w.r != w.w || w.err != nil {
		return w.Conn.Write(b)
	}
	w.eager = false
	w.room()
	w.turn.out, w.turn.fault, w.turn.phase = b, nil, checking
	if w.turn.known {
		w.turn.phase = writing
	}
	err := w.raw.Read(w.step)
	rest := w.turn.out
	w.turn.out = nil
	switch {
	case w.turn.phase == waiting:
		if err != nil && w.err == nil {
			w.err = err
		}
		return len(b), nil
	case w.turn.fault == nil && err == nil: // the peer's window is full
		n, err := w.Conn.Write(rest)
		return len(b) - len(rest) + n, err
	case w.turn.fault == nil:
		w.turn.fault = err
	}
	return len(b) - len(rest), w.turn.fault
}

// quiet reports what speaks against using the connection again: bytes that nobody asked for, or its
// end. Where that cannot be seen without waiting it returns nil.
func (w *Wire) quiet() error {
	if w.r != w.w {
		return ErrSpokeFirst
	}
	if w.err != nil || w.raw == nil {
		return w.err
	}
	w.room()
	w.turn.phase, w.turn.fault, w.turn.out = checking, nil, nil
	if err := w.raw.Read(w.step); err != nil {
		return err
	}
	return w.turn.fault
}
