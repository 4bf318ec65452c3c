package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"
)

// The longest that the blocker holds the write lock: longer than any Send should take, shorter than
// the store waits.
const longestBlock = 2 * time.Second

// startBlocker starts a process that takes the write lock again and again. stop ends it.
func (r *round) startBlocker() (stop func() error) {
	p, messages, err := launch(roleBlock, job{Path: r.path, Seed: r.o.Seed + uint64(r.n)})
	if err != nil {
		return func() error { return err }
	}
	_ = messages.Close()
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return func() error {
		select {
		case <-p.ended:
			return fmt.Errorf("the blocker ended by itself: %v\n%s", p.cmd.ProcessState, p.stderr.String())
		default:
		}
		err := p.cmd.Process.Kill()
		<-p.ended
		return err
	}
}

// block is the work of that process.
func block(j job) error {
	ctx := context.Background()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: j.Path}).String()+"?_pragma=busy_timeout(20000)")
	if err != nil {
		return err
	}
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(j.Seed, 99))
	for {
		if _, err := c.ExecContext(ctx, `BEGIN IMMEDIATE`); err != nil {
			return err
		}
		hold := time.Duration(random.Int64N(int64(50 * time.Millisecond)))
		if random.IntN(10) == 0 {
			hold = time.Duration(random.Int64N(int64(longestBlock)))
		}
		time.Sleep(hold)
		_, err := c.ExecContext(ctx, `COMMIT`)
		if err != nil {
			return errors.Join(err, c.Close())
		}
		time.Sleep(time.Duration(random.Int64N(int64(100 * time.Millisecond))))
	}
}
