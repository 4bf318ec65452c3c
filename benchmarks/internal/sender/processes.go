package sender

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/quota"
)

// processes are several senders on one database, each in a process of its own that sends and delivers. What is
// to be sent goes round them through pipes; its cost is in the figures, too.
type processes struct {
	*outhook // sends nothing: it makes the endpoint and reads the record
	children []*child
	next     atomic.Uint64
}

// childVariable makes this program one of them.
const childVariable = "OUTHOOK_BENCH_CHILD"

// order tells a child to send, or, without payloads, to settle. reply answers it.
type order struct {
	ID       uint64
	Payloads [][]byte
}

type reply struct {
	ID    uint64
	Error string
}

type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	quota *quota.Group // nil: none

	mu      sync.Mutex
	encode  *gob.Encoder
	waiting map[uint64]chan reply
	last    uint64
	ended   error // why there will be no more replies
}

func openProcesses(ctx context.Context, task *load.Task) (_ load.Sender, err error) {
	own, err := openPostgresStore(ctx, task)
	if err != nil {
		return nil, err
	}
	p := &processes{outhook: own}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	for range task.Params["processes"] {
		c, err := startChild(task.Postgres)
		if err != nil {
			return nil, err
		}
		p.children = append(p.children, c)
		if err := c.limit(task.Params["process_quota"]); err != nil {
			return nil, err
		}
	}
	return p, p.Settle(ctx) // when all are up
}

func startChild(dsn string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self), waiting: map[uint64]chan reply{}}
	c.cmd.Env, c.cmd.Stderr = append(os.Environ(), childVariable+"="+dsn), os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.encode = gob.NewEncoder(c.in)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.listen(out)
	return c, nil
}

// limit keeps the child to so many percent of a processor; 0: it has what there is.
func (c *child) limit(percent int) (err error) {
	if percent == 0 {
		return nil
	}
	if c.quota, err = quota.New(fmt.Sprintf("outhook-bench-%d", c.cmd.Process.Pid)); err != nil {
		return err
	}
	return errors.Join(c.quota.Add(c.cmd.Process.Pid), c.quota.Limit(percent))
}

func (c *child) listen(out io.Reader) {
	decode := gob.NewDecoder(out)
	for {
		var r reply
		err := decode.Decode(&r)
		c.mu.Lock()
		if err != nil {
			c.ended = fmt.Errorf("a sender's process ended: %w", err)
			for _, w := range c.waiting {
				w <- reply{Error: c.ended.Error()}
			}
			c.mu.Unlock()
			return
		}
		w := c.waiting[r.ID]
		delete(c.waiting, r.ID)
		c.mu.Unlock()
		w <- r
	}
}

// ask sends an order and waits for the reply.
func (c *child) ask(payloads [][]byte) error {
	answer := make(chan reply, 1)
	c.mu.Lock()
	err := c.ended
	if err == nil {
		c.last++
		c.waiting[c.last] = answer
		err = c.encode.Encode(order{c.last, payloads})
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if r := <-answer; r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

func (p *processes) Send(_ context.Context, payloads [][]byte) error {
	return p.children[p.next.Add(1)%uint64(len(p.children))].ask(payloads)
}

func (p *processes) Settle(context.Context) error {
	var all []error
	for _, c := range p.children {
		all = append(all, c.ask(nil))
	}
	return errors.Join(all...)
}

// PIDs are those whose CPU time counts as this process's.
func (p *processes) PIDs() (pids []int) {
	for _, c := range p.children {
		pids = append(pids, c.cmd.Process.Pid)
	}
	return pids
}

func (p *processes) Close() error {
	var all []error
	for _, c := range p.children {
		all = append(all, c.in.Close(), c.cmd.Wait())
		if c.quota != nil {
			all = append(all, c.quota.Close())
		}
	}
	return errors.Join(append(all, p.close())...)
}

// RunAsChild does a child's work if this process is one.
func RunAsChild(ctx context.Context) (bool, error) {
	dsn := os.Getenv(childVariable)
	if dsn == "" {
		return false, nil
	}
	o, err := openPostgresStore(ctx, &load.Task{Postgres: dsn})
	if err != nil {
		return true, err
	}
	o.run(ctx)
	return true, errors.Join(o.obey(ctx, os.Stdin, os.Stdout), o.Close())
}

func (o *outhook) obey(ctx context.Context, in io.Reader, out io.Writer) error {
	var mu sync.Mutex
	encode, decode := gob.NewEncoder(out), gob.NewDecoder(in)
	var under sync.WaitGroup
	defer under.Wait()
	for {
		var next order
		err := decode.Decode(&next)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		under.Go(func() {
			r := reply{ID: next.ID}
			do := func() error { return o.Send(ctx, next.Payloads) }
			if next.Payloads == nil {
				do = func() error { return o.Settle(ctx) }
			}
			if err := do(); err != nil {
				r.Error = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			_ = encode.Encode(r) // whoever asked is gone, then
		})
	}
}
