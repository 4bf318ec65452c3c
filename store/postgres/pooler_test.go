//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/storetest"
)

// bouncer starts PgBouncer in transaction mode before a database: each transaction gets one of two
// connections, whichever is free. It returns the connection string through it.
func bouncer(t *testing.T, dsn string) string {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		t.Skip("SKIPPED: no PgBouncer here: install the package pgbouncer")
	}
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("/tmp", "bouncer-") // the path of a socket is at most 107 bytes long
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	const port = 54999
	password := ""
	if c.Password != "" {
		password = " password=" + c.Password
	}
	ini := filepath.Join(dir, "bouncer.ini")
	require.NoError(t, os.WriteFile(ini, fmt.Appendf(nil, `[databases]
%s = host=%s port=%d user=%s%s
[pgbouncer]
unix_socket_dir = %s
listen_addr =
listen_port = %d
auth_type = any
pool_mode = transaction
default_pool_size = 2
logfile = %s
`, c.Database, c.Host, c.Port, c.User, password, dir, port, filepath.Join(dir, "log")), 0o644))
	cmd := exec.Command(program, ini)
	if os.Geteuid() == 0 { // it refuses root
		owner, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		require.NoError(t, os.Chown(dir, uid, gid))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // that it was killed
	})
	through := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", dir, port, c.User, c.Database)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), through)
		return err == nil && conn.Close(t.Context()) == nil
	}, 10*time.Second, 50*time.Millisecond)
	return through
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	through := bouncer(t, pgtest.Database(t))
	for _, mode := range []string{"exec", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			storetest.Run(t, newOpener(t, through+" default_query_exec_mode="+mode, 6, postgres.WithoutListen()))
		})
	}
	t.Run("Dispatcher", func(t *testing.T) {
		r := newReceiver(t)
		pool := pgtest.Pool(t, through+" default_query_exec_mode=exec", 6)
		st := open(t, pool, postgres.WithoutListen())
		d, err := webhook.New(st, webhook.Config{PollInterval: 20 * time.Millisecond})
		require.NoError(t, err)
		p := &process{Dispatcher: d, st: st}
		p.endpoint(t, webhook.Endpoint{URL: r.URL})
		p.run(t)
		for n := range 20 {
			_, err := p.Send(t.Context(), webhook.Event{Type: "a.b", Payload: []byte{byte('a' + n)}})
			require.NoError(t, err)
			require.NoError(t, pgx.BeginFunc(context.Background(), pool, func(tx pgx.Tx) error {
				_, err := p.SendTx(t.Context(), st.WithTx(tx), webhook.Event{Type: "a.b", Payload: []byte{byte('A' + n)}})
				return err
			}))
		}
		r.await(t, 40, 10*time.Second)
		require.NoError(t, p.Idle(t.Context()))
	})
}
