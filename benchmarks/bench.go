package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/quota"
	"github.com/outhook/webhook/benchmarks/internal/receiver"
	"github.com/outhook/webhook/benchmarks/internal/report"
	"github.com/outhook/webhook/benchmarks/internal/server"
)

// bench is one call of the program.
type bench struct {
	o        options
	results  *report.Results
	dir      string // everything temporary is in it
	self     string
	modules  map[string]string // programs of other modules, by folder
	receiver *receiverProcess
	postgres *server.Postgres
	quota    *quota.Group // of postgres; nil: no row has needed one
	runs     int
}

func newBench(ctx context.Context, o options, results *report.Results) (b *bench, err error) {
	b = &bench{o: o, results: results, modules: map[string]string{}}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(o.dir, "outhook-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err = os.Chmod(b.dir, 0o711); err != nil { // for a server that runs as another user
		return nil, err
	}
	results.Machine = report.ThisMachine(b.dir)
	if o.profiles != "" {
		if err = os.MkdirAll(o.profiles, 0o755); err != nil {
			return nil, err
		}
	}
	b.receiver, err = startReceiver(b.self, b.counter())
	return b, err
}

func (b *bench) counter() string { return filepath.Join(b.dir, "arrived") }

func (b *bench) close() error {
	var failures []error
	if b.receiver != nil {
		failures = append(failures, b.receiver.stop())
	}
	if b.postgres != nil {
		failures = append(failures, b.postgres.Stop())
	}
	if b.quota != nil {
		failures = append(failures, b.quota.Close())
	}
	return errors.Join(append(failures, os.RemoveAll(b.dir))...)
}

// all makes every measurement, repetition by repetition.
func (b *bench) all(ctx context.Context) error {
	var rows []row
	for _, r := range plan() {
		if b.o.only.MatchString(r.name) {
			ready, err := b.ready(ctx, &r)
			if err != nil {
				return err
			}
			if ready {
				rows = append(rows, r)
			}
		}
	}
	for rep := range b.o.reps {
		for i := range rows {
			if err := b.measure(ctx, rep, &rows[i]); err != nil {
				return fmt.Errorf("%s, repetition %d: %w", rows[i].name, rep+1, err)
			}
		}
	}
	return b.studies(ctx)
}

// ready prepares what a row needs. Without it the row is left out, and the results say so.
func (b *bench) ready(ctx context.Context, r *row) (bool, error) {
	err := b.prepare(ctx, r)
	if errors.Is(err, server.ErrMissing) {
		b.results.Skip(r.name, err.Error())
		fmt.Fprintf(os.Stderr, "LEFT OUT %s: %v\n", r.name, err)
		return false, nil
	}
	return err == nil, err
}

func (b *bench) prepare(ctx context.Context, r *row) (err error) {
	if r.postgres && b.postgres == nil {
		if b.postgres, err = server.StartPostgres(ctx, filepath.Join(b.dir, "postgres")); err != nil {
			return err
		}
	}
	switch {
	case r.task.Params["server_quota"] > 0 && b.quota == nil:
		if b.quota, err = quota.New(fmt.Sprintf("outhook-bench-%d", b.postgres.PID())); err == nil {
			err = b.quota.Add(b.postgres.PID())
		}
	case r.redis != "":
		_, err = exec.LookPath("redis-server")
		if err != nil {
			err = fmt.Errorf("redis-server: %w", server.ErrMissing)
		}
	case r.module != "" && b.modules[r.module] == "":
		b.modules[r.module] = filepath.Join(b.dir, r.module)
		build := exec.CommandContext(ctx, "go", "build", "-o", b.modules[r.module], ".")
		build.Dir = r.module
		if out, failed := build.CombinedOutput(); failed != nil {
			err = fmt.Errorf("build %s: %w\n%s", r.module, failed, out)
		}
	}
	return err
}

// measure makes one measurement of one row.
func (b *bench) measure(ctx context.Context, rep int, r *row) (err error) {
	task := r.task
	task.Warm, task.Measure = max(b.o.warm, time.Duration(r.warm*float64(b.o.warm))), b.o.measure
	if task.Profile, err = b.profile(rep, r); err != nil {
		return err
	}
	stop, err := b.servers(ctx, r, &task)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	program := b.self
	if r.module != "" {
		program = b.modules[r.module]
	}
	dir, remove, err := b.newDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	task.Dir = dir
	if _, err := b.receiver.report(); err != nil { // begins anew
		return err
	}
	result, err := b.run(ctx, b.wrapped(program), task)
	if err != nil {
		return err
	}
	heard, err := b.receiver.report()
	if err != nil {
		return err
	}
	if !r.unheard && heard.Arrived != result.Sent {
		return fmt.Errorf("%d deliveries were sent and %d have arrived", result.Sent, heard.Arrived)
	}
	b.note(rep, r, &result, &heard)
	return nil
}

// profile names the file for a row's profile; empty: none is wanted.
func (b *bench) profile(rep int, r *row) (string, error) {
	if !r.ours || b.o.profiles == "" {
		return "", nil
	}
	return filepath.Abs(filepath.Join(b.o.profiles, fmt.Sprintf("%s.%d.pprof", strings.ReplaceAll(r.name, "/", "-"), rep+1)))
}

// servers starts what a row's contender keeps its queue in.
func (b *bench) servers(ctx context.Context, r *row, task *load.Task) (stop func() error, err error) {
	switch {
	case r.postgres:
		task.Postgres, stop, err = b.postgres.NewDatabase(ctx)
		task.ServerPID = b.postgres.PID()
		if percent := task.Params["server_quota"]; err == nil && percent > 0 {
			drop := stop
			stop = func() error { return errors.Join(b.quota.Limit(0), drop()) }
			err = b.quota.Limit(percent)
		}
		return stop, err
	case r.redis != "":
		b.runs++
		dir := filepath.Join(b.dir, fmt.Sprintf("redis%d", b.runs))
		redis, err := server.StartRedis(dir, r.redis)
		if err != nil {
			return nil, err
		}
		task.Redis, task.ServerPID = redis.Socket, redis.PID()
		return func() error { return errors.Join(redis.Stop(), os.RemoveAll(dir)) }, nil
	}
	return func() error { return nil }, nil
}

func (b *bench) newDir() (dir string, remove func() error, err error) {
	b.runs++
	dir = filepath.Join(b.dir, fmt.Sprintf("run%d", b.runs))
	return dir, func() error { return os.RemoveAll(dir) }, os.Mkdir(dir, 0o700)
}

// wrapped is the command of a measurement.
func (b *bench) wrapped(program string) []string { return append(slices.Clone(b.o.wrap), program) }

// run does a task in a process of its own.
func (b *bench) run(ctx context.Context, command []string, task load.Task) (result load.Result, err error) {
	task.Receiver, task.Counter = b.receiver.address, b.counter()
	in, err := json.Marshal(task)
	if err != nil {
		return result, err
	}
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "measure")...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result, fmt.Errorf("%s: %w", cmd, err)
	}
	if err := json.Unmarshal(out, &result); err != nil {
		return result, fmt.Errorf("%s said %q: %w", cmd, out, err)
	}
	return result, nil
}

// note keeps the figures of a measurement.
func (b *bench) note(rep int, r *row, result *load.Result, heard *receiver.Summary) {
	n := float64(result.Sent)
	values := map[string]float64{"deliveries": n}
	if r.task.Rate == 0 {
		values["rate"] = n / result.Elapsed.Seconds()
		values["sender_us"] = result.CPU.Seconds() * 1e6 / n
		values["server_us"] = result.ServerCPU.Seconds() * 1e6 / n
		values["cpu_us"] = values["sender_us"] + values["server_us"]
		values["receiver_us"] = heard.CPU.Seconds() * 1e6 / float64(result.Sent+result.Warm)
	} else {
		values["send_p50_ms"] = load.Percentile(result.Send, 50).Seconds() * 1e3
		values["send_p99_ms"] = load.Percentile(result.Send, 99).Seconds() * 1e3
		values["receipt_p50_ms"] = load.Percentile(heard.Delays, 50).Seconds() * 1e3
		values["receipt_p99_ms"] = load.Percentile(heard.Delays, 99).Seconds() * 1e3
	}
	b.results.Add(rep, r.name, values)
	fmt.Fprintf(os.Stderr, "%d/%d %-24s %s\n", rep+1, b.o.reps, r.name, report.Line(values))
}

// rehearse writes the results where nobody keeps them.
func (b *bench) rehearse() error {
	dir, remove, err := b.newDir()
	if err != nil {
		return err
	}
	readme, err := os.ReadFile(filepath.Join(b.o.out, report.Readme))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, report.Readme), readme, 0o600); err != nil {
		return err
	}
	return errors.Join(b.results.Write(dir), b.results.WriteReadme(dir), remove())
}
