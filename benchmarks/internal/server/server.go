// Package server starts the database servers that peers need, from binaries of this machine, in directories of
// their own and reachable through sockets in them only, and ends them.
package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// ErrMissing means that this machine does not have the server.
var ErrMissing = errors.New("not installed")

// process is a server under way.
type process struct {
	cmd    *exec.Cmd
	exited chan error
	log    string
}

const (
	startPatience = 30 * time.Second
	stopPatience  = 20 * time.Second
)

// start runs a server until ready says nil.
func start(cmd *exec.Cmd, dir string, ready func() error) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan error, 1), log: filepath.Join(dir, "server.log")}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { p.exited <- cmd.Wait() }()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := ready()
		if err == nil {
			return p, nil
		}
		select {
		case exit := <-p.exited:
			return nil, fmt.Errorf("%s ended at once: %w\n%s", cmd.Path, exit, p.tail())
		default:
		}
		if time.Since(began) > startPatience {
			return nil, errors.Join(fmt.Errorf("%s is not ready: %w\n%s", cmd.Path, err, p.tail()), p.stop(syscall.SIGKILL))
		}
	}
}

func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 4096))
	return string(b)
}

func (p *process) stop(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopPatience):
		return errors.Join(fmt.Errorf("%s did not end and was killed", p.cmd.Path), p.cmd.Process.Kill())
	}
}

// find looks for a program in PATH and then by patterns.
func find(name string, patterns ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range patterns {
		if paths, _ := filepath.Glob(filepath.Join(pattern, name)); len(paths) > 0 {
			return paths[len(paths)-1], nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}

// as makes a command run as another user, who gets dir: some servers refuse to be root.
func as(cmd *exec.Cmd, name, dir string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("%s does not run as root, and there is no user %s: %w", filepath.Base(cmd.Path), name, ErrMissing)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
		return err
	}
	cmd.Dir = dir
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return nil
}

// command makes a command that an interrupt at the terminal does not reach: it is ended in order.
func command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
