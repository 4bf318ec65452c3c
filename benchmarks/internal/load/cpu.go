package load

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// OwnCPU is what this process has computed so far, user and system.
func OwnCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// clockTick is the unit of times in /proc; it is 100 Hz on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// ServerCPU is what a database server has computed so far: its process, its living children, and those that
// it has waited for.
func ServerCPU(pid int) (time.Duration, error) {
	if pid == 0 {
		return 0, nil
	}
	own, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	ticks := own.ticks + own.childTicks
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		// A process may end while we look.
		if s, err := statOf(child); err == nil && s.parent == pid {
			ticks += s.ticks + s.childTicks
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

type stat struct {
	parent            int
	ticks, childTicks int64
}

func statOf(pid int) (stat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("CPU of process %d, which needs Linux: %w", pid, err)
	}
	// The name, in parentheses, may hold anything.
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat is short: %q", pid, line)
	}
	var n [15]int64
	for _, i := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(string(fields[i]), 10, 64); err != nil {
			return stat{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
	}
	return stat{parent: int(n[1]), ticks: n[11] + n[12], childTicks: n[13] + n[14]}, nil
}
