package postgres_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/store/postgres"
)

// cutter is a proxy before the server. When armed it lets the next COMMIT through, waits for the server to
// carry it out, and cuts the connection instead of passing the answer on.
type cutter struct {
	listener net.Listener
	to       func() (net.Conn, error)
	armed    atomic.Int32 // COMMITs to let through before one is cut; -1: none
	cut      chan struct{}
	wait     sync.WaitGroup
}

func newCutter(t *testing.T, dsn string) (*cutter, string) {
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{listener: l, cut: make(chan struct{}, 1), to: func() (net.Conn, error) { return net.Dial(network, address) }}
	c.armed.Store(-1)
	c.wait.Go(c.serve)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		c.wait.Wait()
	})
	host, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	// Statements have names of their own only in the cache; as text they can be told in what passes by.
	return c, "host=" + host + " port=" + port + " user=" + config.User + " dbname=" + config.Database +
		" password='" + config.Password + "' sslmode=disable default_query_exec_mode=exec"
}

func (c *cutter) serve() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.wait.Go(func() { c.pass(client) })
	}
}

func (c *cutter) pass(client net.Conn) {
	server, err := c.to()
	if err != nil {
		_ = client.Close()
		return
	}
	end := sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer end()
	var cutting atomic.Bool
	c.wait.Go(func() { // answers
		defer end()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if cutting.Load() {
				// The server answers when it is done: the COMMIT stands.
				select {
				case c.cut <- struct{}{}:
				default:
				}
				return
			}
			if n > 0 {
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if n > 0 {
			if strings.Contains(string(buf[:n]), "COMMIT\x00") && c.armed.Load() >= 0 && c.armed.Add(-1) == -1 {
				cutting.Store(true)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// proxied opens a store through a cutter.
func proxied(t *testing.T, dsn string) (*cutter, *postgres.Store) {
	c, through := newCutter(t, dsn)
	pool, err := pgxpool.New(context.Background(), through)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return c, open(t, pool, postgres.WithoutListen())
}

// A Send, a result or a claim whose COMMIT was carried out and never answered: nothing is lost, and while
// the lease lives nothing is sent twice.
func TestALostAnswerToCOMMIT(t *testing.T) {
	dsn, r := pgtest.Database(t), newReceiver(t)
	c, st := proxied(t, dsn)
	d, err := webhook.New(st, webhook.Config{PollInterval: 20 * time.Millisecond, AttemptTimeout: time.Second})
	require.NoError(t, err)
	p := &process{Dispatcher: d, st: st}
	p.endpoint(t, webhook.Endpoint{URL: r.URL})
	ev := func(n int) webhook.Event {
		return webhook.Event{Type: "a.b", Payload: []byte{byte('a' + n)}, IdempotencyKey: string(rune('a' + n))}
	}
	_, err = p.Send(t.Context(), ev(0))
	require.NoError(t, err)

	c.armed.Store(0)
	_, err = p.Send(t.Context(), ev(1))
	require.Error(t, err, "its COMMIT was cut")
	<-c.cut
	again, err := p.Send(t.Context(), ev(1))
	require.NoError(t, err)
	require.True(t, again.Duplicate, "it had been carried out")

	p.run(t)
	r.await(t, 2, 10*time.Second)
	require.NoError(t, p.Idle(t.Context()))
	for n := 2; n < 12; n++ { // whatever is committed next: the Send, or the result of another
		c.armed.Store(int32(n % 3))
		for err := errors.New("not sent"); err != nil; {
			_, err = p.Send(t.Context(), ev(n))
		}
		require.Eventually(t, func() bool { return c.armed.Load() == -1 }, 10*time.Second, time.Millisecond)
	}
	// What was stored under a lease that nobody knows of waits for its end.
	r.await(t, 12, 40*time.Second)
	require.NoError(t, p.Idle(t.Context()))
	seen := map[string]time.Time{}
	for _, a := range r.arrivals() {
		require.Zero(t, seen[a.eventID], "event %s was sent twice", a.eventID)
		seen[a.eventID] = a.at
	}
	require.Len(t, seen, 12)
	stats, err := p.Stats(t.Context(), webhook.StatsQuery{})
	require.NoError(t, err)
	require.EqualValues(t, 12, stats.Succeeded)
	require.Zero(t, stats.Pending)
}
