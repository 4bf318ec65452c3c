//go:build unix

package webhook

import (
	"syscall"
	"testing"
	"time"
)

// processCPU is what this process has spent, in user and system mode.
func processCPU(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
