// Package pgtest gives tests a PostgreSQL server of their own: a throw-away cluster made from the binaries
// on this machine, on a Unix socket, in about a second. With WEBHOOK_TEST_POSTGRES set to a connection
// string it uses that server instead; its databases are created there, and dropped.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Variable names a server to use instead of a cluster of our own.
const Variable = "WEBHOOK_TEST_POSTGRES"

// ErrMissing says that there are no binaries of PostgreSQL.
var ErrMissing = errors.New("no PostgreSQL here: install the package postgresql, or set " + Variable)

// binary finds a program of the server, where distributions hide it as well. Of several versions it
// takes the newest.
func binary(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.EvalSymlinks(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return "", ErrMissing
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }), nil
}

func version(path string) (n int) {
	_, _ = fmt.Sscanf(strings.TrimPrefix(path, "/usr/lib/postgresql/"), "%d", &n)
	return n
}

// Cluster is a server of our own.
type Cluster struct {
	dir     string
	program string // pg_ctl
	user    string // who runs it, if we are root, whom the server refuses
	port    int
	watch   io.Closer // while it is open, the server may live
	watcher *exec.Cmd
}

var nextPort atomic.Int32

// Start makes a cluster in a new directory and starts it. Settings are added to postgresql.conf. The
// server loses nothing when it is ended without warning, and forgets nothing when it is started again.
func Start(ctx context.Context, settings ...string) (_ *Cluster, err error) {
	initdb, err := binary("initdb")
	if err != nil {
		return nil, err
	}
	c := &Cluster{port: 54000 + int(nextPort.Add(1))}
	if c.program, err = binary("pg_ctl"); err != nil {
		return nil, err
	}
	// Not below a test's own directory: the path of a socket is at most 107 bytes long.
	if c.dir, err = os.MkdirTemp("/tmp", "pgtest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(c.dir))
		}
	}()
	if os.Getuid() == 0 {
		c.user = "postgres"
		if err := exec.CommandContext(ctx, "chown", c.user, c.dir).Run(); err != nil {
			return nil, fmt.Errorf("%w: and root needs a user named postgres", ErrMissing)
		}
	}
	if err := c.command(ctx, initdb, "-D", c.data(), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"); err != nil {
		return nil, err
	}
	conf := append([]string{
		"listen_addresses = ''", "unix_socket_directories = '" + c.dir + "'", fmt.Sprintf("port = %d", c.port),
		"max_connections = 100", "shared_buffers = 64MB", "log_min_messages = fatal", "log_min_error_statement = panic",
	}, settings...)
	add := "cat >> '" + filepath.Join(c.data(), "postgresql.conf") + "' <<'END'\n" + strings.Join(conf, "\n") + "\nEND"
	if err := c.command(ctx, "sh", "-c", add); err != nil {
		return nil, err
	}
	if err := c.guard(); err != nil {
		return nil, err
	}
	return c, c.start(ctx)
}

// guard starts a watcher that ends the server, and removes its files, when this process has died: it
// waits for the end of a pipe that only we hold.
func (c *Cluster) guard() (err error) {
	name, args := c.as("sh", "-c", `trap '' HUP INT TERM; cat >/dev/null; "$1" -D "$2/data" -m immediate -w stop >/dev/null 2>&1; rm -rf "$2"/*`,
		"watcher", c.program, c.dir)
	if setsid, err := exec.LookPath("setsid"); err == nil { // so that what ends our group of processes spares it
		name, args = setsid, append([]string{name}, args...)
	}
	c.watcher = exec.Command(name, args...)
	c.watcher.Dir = "/"
	if c.watch, err = c.watcher.StdinPipe(); err != nil {
		return err
	}
	return c.watcher.Start()
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) start(ctx context.Context) error {
	return c.command(ctx, c.program, "-D", c.data(), "-l", filepath.Join(c.dir, "log"), "-w", "-t", "60", "start")
}

// Crash ends the server without a shutdown, as a kill of all its processes would, and starts it again.
func (c *Cluster) Crash(ctx context.Context) error {
	if err := c.command(ctx, c.program, "-D", c.data(), "-m", "immediate", "-w", "stop"); err != nil {
		return err
	}
	return c.start(ctx)
}

// Stop ends the server and removes its files.
func (c *Cluster) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := errors.Join(c.command(ctx, c.program, "-D", c.data(), "-m", "immediate", "-w", "stop"), c.watch.Close())
	_ = c.watcher.Wait() // it finds nothing left to do
	return errors.Join(err, os.RemoveAll(c.dir))
}

// Pid is the process ID of the server's first process.
func (c *Cluster) Pid() (pid int, err error) {
	text, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscan(string(text), &pid)
	return pid, err
}

// URL is the connection string of a database of the cluster.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=%s", c.dir, c.port, database)
}

// Socket is the path of the server's socket.
func (c *Cluster) Socket() string { return filepath.Join(c.dir, fmt.Sprintf(".s.PGSQL.%d", c.port)) }

// as makes a command that the server's user carries out.
func (c *Cluster) as(name string, args ...string) (string, []string) {
	if c.user == "" {
		return name, args
	}
	return "runuser", append([]string{"-u", c.user, "--", name}, args...)
}

func (c *Cluster) command(ctx context.Context, name string, args ...string) error {
	name, args = c.as(name, args...)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.dir
	// pg_ctl leaves the server running with these open: pipes would never end.
	out, err := os.CreateTemp("", "pgtest-out-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said))
	}
	return nil
}

var shared struct {
	once    sync.Once
	cluster *Cluster
	url     string
	err     error
}

// Main runs the tests of a package and ends the cluster that they shared. Call it from TestMain.
func Main(m *testing.M) (code int) {
	defer func() {
		if shared.cluster != nil {
			if err := shared.cluster.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, "pgtest:", err)
				code = 1
			}
		}
	}()
	return m.Run()
}

// Server returns the connection string of a server that all tests of the process share, and skips the
// test if there is none. Its package's TestMain must call Main.
func Server(t testing.TB) string {
	shared.once.Do(func() {
		if shared.url = os.Getenv(Variable); shared.url != "" {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// What a test needs on disk it gets by Crash, from a cluster of its own.
		if shared.cluster, shared.err = Start(ctx, "fsync = off", "max_wal_size = 512MB"); shared.err == nil {
			shared.url = shared.cluster.URL("postgres")
		}
	})
	if errors.Is(shared.err, ErrMissing) {
		t.Skip("SKIPPED:", shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.url
}

var databases atomic.Int64

// Database makes a new database on the shared server, drops it when the test ends, and returns its
// connection string.
func Database(t testing.TB) string {
	url := Server(t)
	name := fmt.Sprintf("webhook_test_%d_%d", os.Getpid(), databases.Add(1))
	admin := func(sql string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, sql)
		return errors.Join(err, c.Close(ctx))
	}
	if err := admin("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	dsn := fmt.Sprintf("host=%s port=%d user=%s dbname=%s", config.Host, config.Port, config.User, name)
	if config.Password != "" {
		dsn += " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(config.Password) + "'"
	}
	if config.TLSConfig == nil {
		dsn += " sslmode=disable"
	}
	return dsn
}

// Pool opens a pool of at most so many connections, and closes it when the test ends.
func Pool(t testing.TB, dsn string, connections int32) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
