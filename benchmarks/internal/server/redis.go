package server

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// Redis is a server of our own, with an append-only file.
type Redis struct {
	process *process
	Socket  string
}

// StartRedis starts a server in dir; fsync is always or everysec. The error is ErrMissing without Redis.
func StartRedis(dir, fsync string) (*Redis, error) {
	path, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	r := &Redis{Socket: filepath.Join(dir, "redis.sock")}
	cmd := command(path, "--port", "0", "--unixsocket", r.Socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync)
	r.process, err = start(cmd, dir, func() error {
		c, err := net.Dial("unix", r.Socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return r, err
}

// PID is the server's.
func (r *Redis) PID() int { return r.process.cmd.Process.Pid }

// Stop ends the server.
func (r *Redis) Stop() error { return r.process.stop(syscall.SIGTERM) }
