package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is a server of our own.
type Postgres struct {
	process   *process
	dir       string
	databases int
}

// settings are those of a server that has memory and few clients. What is committed is on disk.
var settings = []string{
	"listen_addresses=", "fsync=on", "synchronous_commit=on", "full_page_writes=on",
	"shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=15min", "wal_level=minimal", "max_wal_senders=0",
	"max_connections=100", "jit=off", "log_min_messages=error",
}

// StartPostgres makes a cluster in dir and starts it. The error is ErrMissing without Postgres.
func StartPostgres(ctx context.Context, dir string) (*Postgres, error) {
	const installed = "/usr/lib/postgresql/*/bin"
	initdb, err := find("initdb", installed)
	if err != nil {
		return nil, err
	}
	postgres, err := find("postgres", installed)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	create := command(initdb, "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--no-sync")
	args := []string{"-D", data, "-k", dir}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	serve := command(postgres, args...)
	if os.Geteuid() == 0 {
		if err := errors.Join(as(create, "postgres", dir), as(serve, "postgres", dir)); err != nil {
			return nil, err
		}
	}
	if out, err := create.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	p := &Postgres{dir: dir}
	p.process, err = start(serve, dir, func() error { return p.exec(ctx, `SELECT 1`) })
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Postgres) dsn(database string) string {
	return fmt.Sprintf("host=%s user=bench dbname=%s pool_max_conns=32", p.dir, database)
}

func (p *Postgres) exec(ctx context.Context, statement string) error {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s user=bench dbname=postgres", p.dir))
	if err != nil {
		return err
	}
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement)
	return errors.Join(err, c.Close(ctx))
}

// PID is the server's.
func (p *Postgres) PID() int { return p.process.cmd.Process.Pid }

// NewDatabase makes an empty database, and drop drops it. The checkpoint keeps the cost of one contender's writes
// from the next.
func (p *Postgres) NewDatabase(ctx context.Context) (dsn string, drop func() error, err error) {
	p.databases++
	name := fmt.Sprintf("bench%d", p.databases)
	if err := p.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", nil, err
	}
	drop = func() error {
		err := p.exec(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
		return errors.Join(err, p.exec(context.WithoutCancel(ctx), "CHECKPOINT"))
	}
	return p.dsn(name), drop, p.exec(ctx, "CHECKPOINT")
}

// Stop ends the server.
func (p *Postgres) Stop() error { return p.process.stop(syscall.SIGINT) }
