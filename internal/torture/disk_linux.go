package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// smallDisk is the size of the disk that fills up.
const smallDisk = "64m"

const insideVariable = "OUTHOOK_TORTURE_INSIDE"

// insideSmallDisk goes on only in a process whose temporary directory is a small disk of its own. To
// mount one it starts this program again in a mount namespace, which needs root or user namespaces, and
// ends with its status.
func insideSmallDisk() error {
	if dir := os.Getenv(insideVariable); dir != "" {
		// What is mounted here must not show outside.
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			return err
		}
		return syscall.Mount("torture", dir, "tmpfs", 0, "size="+smallDisk)
	}
	cmd, remove, err := smallDiskCommand(os.Args[1:])
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	remove()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err == nil {
		os.Exit(0)
	}
	return err
}

// smallDiskCommand is this program in namespaces of its own, where it mounts over a directory.
func smallDiskCommand(args []string) (cmd *exec.Cmd, remove func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "torture-disk-")
	if err != nil {
		return nil, nil, err
	}
	cmd = exec.Command(self, args...)
	cmd.Env = append(os.Environ(), insideVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return cmd, func() { _ = os.Remove(dir) }, nil
}

func smallDiskDir() string { return os.Getenv(insideVariable) }
