//go:build !linux

package sender

import "os"

func fdatasync(f *os.File) error { return f.Sync() }
