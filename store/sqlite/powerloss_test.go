package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	modernc "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/store/sqlite/internal/powerloss"
	"github.com/outhook/webhook/store/sqlite/sqldb"
	"github.com/outhook/webhook/store/storetest"
	"github.com/outhook/webhook/webhooktest"
)

// What Send acknowledged, and what was recorded as delivered, survives the power going at any moment,
// whatever part of what was not synced then reaches the disk.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	log := recordRun(t, func(c driver.Connector) driver.Connector { return c })
	checkpoints := count(log, func(op powerloss.Op) bool { return op.Kind == powerloss.Sync && op.File == "webhooks.db" })
	restarts := count(log, func(op powerloss.Op) bool {
		return op.Kind == powerloss.Write && op.File == "webhooks.db-wal" && op.Offset == 0
	})
	require.Greater(t, checkpoints, 2)
	require.Greater(t, restarts, 2, "the WAL was never begun anew")
	states, lost := loseWhatWasAcknowledged(t, log, moments())
	require.Zero(t, lost)
	t.Logf("%d crash states; %d ops, %d checkpoints, %d times a WAL was begun", states, len(log), checkpoints, restarts)
}

// The same at synchronous=NORMAL loses acknowledged events. If it did not, the test above would not
// show anything.
func TestPowerLossWouldShowMissingSyncs(t *testing.T) {
	t.Parallel()
	log := recordRun(t, func(c driver.Connector) driver.Connector { return normal{c} })
	states, lost := loseWhatWasAcknowledged(t, log, 6)
	require.Positive(t, lost)
	t.Logf("%d crash states, of which %d had lost something", states, lost)
}

// moments is at how many places of the log the power goes.
func moments() int {
	if underRace {
		return 5
	}
	return 50
}

func count(log []powerloss.Op, is func(powerloss.Op) bool) (n int) {
	for _, op := range log {
		if is(op) {
			n++
		}
	}
	return n
}

// fact is what the program learned at a moment: an event was stored, or a delivery made.
type fact struct {
	Event      string
	Deliveries []string
	Delivered  string
}

// recordRun sends and delivers from several goroutines, with checkpoints in between and a restart, and
// returns what SQLite did.
func recordRun(t *testing.T, wrap func(driver.Connector) driver.Connector) []powerloss.Op {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	recorder, err := powerloss.Record(filepath.Dir(path))
	require.NoError(t, err)
	dsn := (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "vfs=" + powerloss.VFS}).String()
	connector, err := modernc.NewConnector(dsn)
	require.NoError(t, err)
	receiver := webhooktest.NewReceiver(t)
	for restart := range 2 {
		st, err := sqldb.Open(wrap(connector), sql.OpenDB(wrap(connector)))
		require.NoError(t, err)
		witness := &witness{recorder: recorder}
		d, err := webhook.New(st, webhook.Config{Observer: witness, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		if restart == 0 {
			_, err = d.CreateEndpoint(t.Context(), receiver.Endpoint())
			require.NoError(t, err)
		}
		witness.work(t, d, st)
		require.NoError(t, st.Close())
	}
	return recorder.Stop()
}

// witness marks in the log what the program knows.
type witness struct{ recorder *powerloss.Recorder }

func (w *witness) learn(f fact) {
	text, _ := json.Marshal(f)
	w.recorder.Mark(string(text))
}

func (w *witness) Observe(_ context.Context, n webhook.Notice) {
	if n.Kind == webhook.NoticeAttempt && n.Attempt.Status == webhook.AttemptSucceeded {
		w.learn(fact{Delivered: n.Attempt.DeliveryID})
	}
}

func (w *witness) work(t *testing.T, d *webhook.Dispatcher, st *sqldb.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var senders sync.WaitGroup
	for s := range 3 {
		senders.Go(func() {
			for n := range 12 {
				payload := strings.Repeat(fmt.Sprintf("%d %d ", s, n), 1+n*n*10)
				r, err := d.Send(ctx, webhook.Event{Type: "a", Payload: []byte(payload)})
				if err != nil {
					t.Error(err)
					return
				}
				w.learn(fact{Event: r.EventID, Deliveries: r.DeliveryIDs})
				if s == 0 && n%4 == 3 { // a checkpoint between, and at the same time as, the others' writes
					if err := st.Maintain(ctx, time.Now()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	senders.Wait()
	require.NoError(t, d.Idle(ctx))
	cancel()
	require.NoError(t, <-ended)
}

// loseWhatWasAcknowledged crashes at many moments of a log and counts in how many of the states that
// are then possible something is missing. Whatever is there must be sound all the same.
func loseWhatWasAcknowledged(t *testing.T, log []powerloss.Op, moments int) (states, lost int) {
	random := rand.New(rand.NewPCG(20, 26))
	disk := powerloss.NewDisk(log)
	for n := range moments {
		from, to := len(log)*n/moments, len(log)*(n+1)/moments
		at := from + random.IntN(to-from)
		if n == moments-1 {
			at = len(log)
		}
		disk.Advance(at)
		for name, fate := range map[string]powerloss.Fate{
			"nothing":   fixed(false),
			"all":       fixed(true),
			"some":      chance{random, 0.5, 1},
			"torn":      chance{random, 0.5, 0.5},
			"most torn": chance{random, 0.9, 0.9},
		} {
			if states++; !survives(t, disk, log[:at], fate, fmt.Sprintf("at op %d of %d, %s of the rest kept", at, len(log), name)) {
				lost++
			}
		}
	}
	return states, lost
}

// survives reports whether everything that was known is in the database after a crash.
func survives(t *testing.T, disk *powerloss.Disk, log []powerloss.Op, fate powerloss.Fate, moment string) bool {
	dir := inRAM(t)
	defer os.RemoveAll(dir)
	require.NoError(t, disk.Crash(dir, fate))
	st, err := sqlite.Open(filepath.Join(dir, "webhooks.db"))
	require.NoError(t, err, moment)
	defer func() { require.NoError(t, st.Close()) }()
	var answer string
	require.NoError(t, st.DB().QueryRow(`PRAGMA integrity_check`).Scan(&answer), moment)
	require.Equal(t, "ok", answer, moment)
	storetest.CheckInvariants(t, st)
	for i := range log {
		if log[i].Kind != powerloss.Mark {
			continue
		}
		var f fact
		require.NoError(t, json.Unmarshal([]byte(log[i].Note), &f))
		if !holds(t, st, f) {
			return false
		}
	}
	return true
}

func holds(t *testing.T, st webhook.Store, f fact) bool {
	if f.Event != "" {
		if _, err := st.GetEvent(t.Context(), f.Event); err != nil {
			require.ErrorIs(t, err, webhook.ErrNotFound)
			return false
		}
	}
	for _, id := range append(f.Deliveries, f.Delivered) {
		if id == "" {
			continue
		}
		item, err := st.GetDelivery(t.Context(), time.Now(), id)
		if err != nil {
			require.ErrorIs(t, err, webhook.ErrNotFound)
			return false
		}
		if id == f.Delivered && item.State != webhook.StateSucceeded {
			return false
		}
	}
	return true
}

// fixed keeps everything, or nothing.
type fixed bool

func (f fixed) Names(n int) int {
	if f {
		return n
	}
	return 0
}
func (f fixed) Keeps(*powerloss.Op) bool { return bool(f) }
func (f fixed) Sector() bool             { return bool(f) }

// chance keeps writes, and sectors of those, with some probability.
type chance struct {
	random         *rand.Rand
	writes, sector float64
}

func (c chance) Names(n int) int          { return c.random.IntN(n + 1) }
func (c chance) Keeps(*powerloss.Op) bool { return c.random.Float64() < c.writes }
func (c chance) Sector() bool             { return c.random.Float64() < c.sector }

// normal is a connector on whose connections synchronous=FULL is NORMAL.
type normal struct{ driver.Connector }

func (n normal) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := n.Connector.Connect(ctx)
	return normalConn{c}, err
}

type normalConn struct{ driver.Conn }

func (c normalConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	query = strings.Replace(query, "synchronous = FULL", "synchronous = NORMAL", 1)
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}
