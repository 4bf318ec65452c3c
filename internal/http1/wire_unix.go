//go:build unix

package http1

import (
	"io"
	"net"
	"os"
	"syscall"
)

const canStep = true

// advance is called when the step begins, and each time that there may be something to read. It returns
// false to be called again.
func (w *Wire) advance(fd uintptr) bool {
	t := &w.turn
	if t.phase == checking {
		n, err := retry(func() (int, error) { return syscall.Read(int(fd), w.in[w.w:]) })
		switch {
		case err == nil && n == 0:
			t.fault = io.EOF
		case err == nil:
			t.fault = ErrSpokeFirst
		case err != syscall.EAGAIN: //nolint:errorlint // straight from the system
			t.fault = w.opError("read", err)
		}
		if t.fault != nil || t.out == nil {
			return true
		}
		t.phase = writing
	}
	if t.phase == writing {
		n, err := retry(func() (int, error) { return syscall.Write(int(fd), t.out) })
		if err != nil && err != syscall.EAGAIN { //nolint:errorlint // straight from the system
			t.fault = w.opError("write", err)
			return true
		}
		t.out = t.out[max(n, 0):]
		if len(t.out) > 0 {
			return true
		}
		t.phase = waiting
		t.told()
		return false
	}
	n, err := retry(func() (int, error) { return syscall.Read(int(fd), w.in[w.w:]) })
	switch {
	case err == syscall.EAGAIN: //nolint:errorlint // straight from the system
		return false
	case err != nil:
		w.err = w.opError("read", err)
	case n == 0:
		w.err = io.EOF
	default:
		w.w += n
	}
	return true
}

func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); err != syscall.EINTR { //nolint:errorlint // straight from the system
			return n, err
		}
	}
}

// opError is what package net makes of an errno.
func (w *Wire) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: w.LocalAddr(), Addr: w.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
