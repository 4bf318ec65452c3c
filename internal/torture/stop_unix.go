//go:build unix

package main

import "syscall"

// stopped stops a process, or lets it go on.
func (p *process) stopped(on bool) error {
	if on {
		return p.cmd.Process.Signal(syscall.SIGSTOP)
	}
	return p.cmd.Process.Signal(syscall.SIGCONT)
}
