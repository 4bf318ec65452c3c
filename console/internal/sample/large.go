package sample

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// A Database is what a store keeps its tables in, for what would take too long through the store.
type Database struct {
	*sql.DB
	Prefix string // of the tables: "webhook_" or "webhook."
	Fanout string // what an event keeps of its deliveries f, as an aggregate of keys moved by %[1]d
	Stats  string // the primary key of the counters
	Tidy   string // what a server does by itself as time goes by
}

// SQLite is the database of a store of package sqlite.
func SQLite(db *sql.DB) Database {
	return Database{
		DB: db, Prefix: "webhook_", Fanout: "unhex(group_concat(printf('%%016x%%016x', f.key + %[1]d, f.rest), '' ORDER BY f.key))",
		Stats: "endpoint, hour, kind", Tidy: "PRAGMA wal_checkpoint(TRUNCATE)",
	}
}

// Postgres is the database of a store of package postgres.
func Postgres(db *sql.DB) Database {
	return Database{
		DB: db, Prefix: "webhook.", Fanout: "string_agg(int8send(f.key + %[1]d) || int8send(f.rest), ''::bytea ORDER BY f.key)",
		Stats: "endpoint, hour, kind, shard", Tidy: "VACUUM (ANALYZE, SKIP_LOCKED)",
	}
}

// days is how far back a large past goes.
const days = 20

// FillLarge stores about n deliveries of twenty days before now, with their events and attempts: 300
// endpoints of 40 tenants, of which one has two fifths of all; failures are few, and most come in bursts
// while a receiver is down. The first and the last day pass through the store. Those between are copies of
// the first, made by SQL in a small part of the time.
func FillLarge(ctx context.Context, d *webhook.Dispatcher, store webhook.Store, db Database, n int, now time.Time) ([]string, error) {
	now = now.Truncate(time.Hour)
	steps := min(max(n/days/250, 24), 1000)
	each := math.Round(float64(n) / days / 0.54 / float64(steps)) // the mean of a day's tide is 0.54
	plan := Plan{Steps: steps, Events: max(1, int(each)), Receivers: crowd(), Types: shopTypes, Seed: 3}
	s, err := begin(ctx, d, store, plan)
	if err != nil {
		return nil, err
	}
	first := now.Add(-days * 24 * time.Hour)
	if err := errors.Join(s.live(ctx, first, first.Add(24*time.Hour)), s.drain(ctx)); err != nil {
		return nil, err
	}
	if err := db.repeat(ctx); err != nil {
		return nil, err
	}
	if err := s.live(ctx, now.Add(-24*time.Hour), now); err != nil {
		return nil, err
	}
	return s.endpoints, s.leave(ctx, d)
}

// crowd are the receivers of a large past.
func crowd() (list []Receiver) {
	for i := range 300 {
		r := Receiver{Fails: 0.002, Code: 503, Latency: time.Duration(20+i%7*30) * time.Millisecond, Weight: 1 + i%9*2, Breaks: 30 * 24 * time.Hour, Broken: 2 * time.Hour}
		r.Endpoint = webhook.Endpoint{TenantID: fmt.Sprintf("tenant-%d", i%40), URL: fmt.Sprintf("https://r%d.example/hooks", i)}
		if i%50 == 5 {
			r.Breaks, r.Broken = 10*24*time.Hour, 14*time.Hour // too long for its retries
		}
		switch i {
		case 0:
			r.Weight, r.Breaks, r.Broken = 1800, 7*24*time.Hour, 10*time.Minute
		case 3:
			r.Fails, r.Code = 0.9, 0
		case 4:
			r.Fails, r.Code = 0.3, 404
		}
		list = append(list, r)
	}
	return list
}

// leave stops two endpoints and sends something that nobody attempts any more.
func (s *simulation) leave(ctx context.Context, d *webhook.Dispatcher) error {
	err := errors.Join(d.PauseEndpoint(ctx, s.endpoints[10]), d.DisableEndpoint(ctx, s.endpoints[3], "nothing but failures"))
	if err != nil {
		return err
	}
	if _, s.generation, err = s.store.SyncEndpoints(ctx, 0, 1); err != nil {
		return err
	}
	_, err = s.send(ctx, 2*s.Events, false)
	return err
}

// repeat makes a day of each of those that follow the first.
func (db Database) repeat(ctx context.Context) (err error) {
	conn, err := db.Conn(ctx) // temporary tables are a connection's own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	c := copier{Database: db, conn: conn, columns: map[string][]string{}}
	for _, table := range []string{"event", "delivery", "attempt", "stat"} {
		if err := c.exec(ctx, `CREATE TEMP TABLE day_`+table+` AS SELECT * FROM `+db.Prefix+table); err != nil {
			return err
		}
		if c.columns[table], err = c.columnsOf(ctx, "day_"+table); err != nil {
			return err
		}
	}
	if err := c.exec(ctx, `CREATE INDEX day_fan ON day_delivery (event)`); err != nil {
		return err
	}
	for day := 1; day < days-1; day++ {
		if err := c.day(ctx, day); err != nil {
			return fmt.Errorf("day %d: %w", day, err)
		}
	}
	for _, table := range []string{"event", "delivery", "attempt", "stat"} {
		if err := c.exec(ctx, `DROP TABLE day_`+table); err != nil {
			return err
		}
	}
	return c.exec(ctx, db.Tidy)
}

type copier struct {
	Database
	conn    *sql.Conn
	columns map[string][]string
}

func (c *copier) exec(ctx context.Context, sql string) error {
	if _, err := c.conn.ExecContext(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func (c *copier) columnsOf(ctx context.Context, table string) (_ []string, err error) {
	rows, err := c.conn.QueryContext(ctx, `SELECT * FROM `+table+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Err(), rows.Close()) }()
	return rows.Columns()
}

// detail is how long a store keeps what a request and its answer looked like.
const detail = 7

// day copies the first day to a later one: times and keys move, and what is old has lost its detail.
func (c *copier) day(ctx context.Context, day int) error {
	us := int64(day) * 24 * int64(time.Hour/time.Microsecond)
	keys := us / 1000 << 21 // milliseconds stand in the upper bits of a key
	pruned := days-day > detail
	for _, table := range []string{"event", "delivery", "attempt"} {
		var values []string
		for _, column := range c.columns[table] {
			values = append(values, c.moved(column, us, keys, day, pruned))
		}
		if err := c.exec(ctx, `INSERT INTO `+c.Prefix+table+` (`+strings.Join(c.columns[table], ", ")+`)
			SELECT `+strings.Join(values, ", ")+` FROM day_`+table+` t ORDER BY key`); err != nil {
			return err
		}
	}
	values := strings.Join(c.columns["stat"], ", ")
	return c.exec(ctx, `INSERT INTO `+c.Prefix+`stat AS s (`+values+`) SELECT `+
		strings.Replace(values, "hour", fmt.Sprintf("CASE hour WHEN 0 THEN 0 ELSE hour + %d END", us), 1)+
		` FROM day_stat WHERE true ON CONFLICT (`+c.Stats+`) DO UPDATE SET n = s.n + excluded.n`)
}

// moved is what a column of a copy holds.
func (c *copier) moved(column string, us, keys int64, day int, pruned bool) string {
	switch column {
	case "key", "event", "delivery":
		return fmt.Sprintf("%s + %d", column, keys)
	case "deliveries":
		return `(SELECT ` + fmt.Sprintf(c.Fanout, keys) + ` FROM day_delivery f WHERE f.event = t.key)`
	case "idempotency_key":
		return fmt.Sprintf("idempotency_key || '-%d'", day)
	case "capture", "request_headers", "response_headers", "preview":
		if pruned {
			return "NULL"
		}
	case "detail_pruned_at":
		if pruned {
			return fmt.Sprintf("completed_at + %d", us+detail*24*int64(time.Hour/time.Microsecond))
		}
	}
	if strings.HasSuffix(column, "_at") {
		return fmt.Sprintf("%s + %d", column, us)
	}
	return column
}
