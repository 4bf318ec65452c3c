package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a running child, seen from the parent.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has ended and all it said was read
	up     atomic.Bool
	tries  chan struct{} // tells of a Send that begins, if somebody waits for one
	waits  bool          // it has not yet taken over what a dead one left; the book's
	stderr tailBuffer
	asked  atomic.Pointer[time.Time] // when it was told to end; nil: it was not
}

// start starts a child that delivers.
func (r *round) start(j job) (*process, error) {
	j.Path, j.Postgres = r.path, r.url
	p, messages, err := launch(roleDeliver, j)
	if err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewReader(messages)
		for {
			line, err := lines.ReadBytes('\n')
			var m message
			if err != nil || json.Unmarshal(line, &m) != nil {
				break // what is left has no end: it was cut off
			}
			switch m.Kind {
			case saidUp:
				p.up.Store(true)
			case saidTry:
				select {
				case p.tries <- struct{}{}:
				default:
				}
			}
			r.book.note(p, m)
		}
		_ = messages.Close()
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// launch starts this program in a role and returns what it says.
func launch(role string, j job) (*process, io.ReadCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p := &process{cmd: exec.Command(self), ended: make(chan struct{}), tries: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.ExtraFiles = []*os.File{in}
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	_ = in.Close()
	if err == nil {
		// It may be killed before it has read this; stdin stays open for as long as we live.
		go func() { _ = json.NewEncoder(stdin).Encode(j) }()
		return p, out, nil
	}
	_ = out.Close()
	return nil, nil, err
}

func (p *process) isUp() bool { return p.up.Load() }

// signal is what ended it, or 0.
func (p *process) signal() syscall.Signal {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

// tailBuffer keeps the last of what was written to it.
type tailBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	const most = 8 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if extra := len(b.text) - most; extra > 0 {
		b.text = append(b.text[:0], b.text[extra:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(bytes.TrimSpace(b.text))
}
