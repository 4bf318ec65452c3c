package load

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Counter is a number that the receiver's process raises and the sender's process reads, through a file that
// both have mapped: so the sender learns what has arrived at no cost that a contender could be charged for.
type Counter struct {
	file  *os.File
	bytes []byte
}

// OpenCounter maps a file, made if it is missing.
func OpenCounter(path string) (*Counter, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	size := os.Getpagesize()
	if err := f.Truncate(int64(size)); err != nil {
		return nil, fmt.Errorf("size %s: %w", path, err)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &Counter{f, b}, nil
}

func (c *Counter) number() *int64 { return (*int64)(unsafe.Pointer(&c.bytes[0])) }

// Add raises the number.
func (c *Counter) Add(n int) { atomic.AddInt64(c.number(), int64(n)) }

// Load reads it.
func (c *Counter) Load() int { return int(atomic.LoadInt64(c.number())) }

// Close unmaps the file.
func (c *Counter) Close() error {
	if err := syscall.Munmap(c.bytes); err != nil {
		return err
	}
	return c.file.Close()
}
