package sender

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

// probe is what a disk asks for safety: 16 KB written over a part of a file that exists, and fdatasync. It
// delivers nothing; each write counts as one arrived.
type probe struct {
	file    *os.File
	counter *load.Counter

	mu   sync.Mutex
	next int64
	done int
}

const (
	probeWrite = 16 << 10
	probeFile  = 4 << 20
)

func openProbe(_ context.Context, task *load.Task) (load.Sender, error) {
	f, err := os.Create(filepath.Join(task.Dir, "probe"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, probeFile)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	counter, err := load.OpenCounter(task.Counter)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &probe{file: f, counter: counter}, nil
}

func (p *probe) Send(_ context.Context, payloads [][]byte) error {
	page := make([]byte, probeWrite)
	copy(page, payloads[0])
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.file.WriteAt(page, p.next); err != nil {
		return err
	}
	if err := fdatasync(p.file); err != nil {
		return err
	}
	p.next = (p.next + probeWrite) % probeFile
	p.done++
	p.counter.Add(1)
	return nil
}

func (p *probe) Settle(context.Context) error { return nil }

func (p *probe) Recorded(context.Context) (int, error) { return p.done, nil }

func (p *probe) Close() error { return errors.Join(p.file.Close(), p.counter.Close()) }
