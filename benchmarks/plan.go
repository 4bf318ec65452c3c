package main

import (
	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/report"
)

// row is a measurement that every repetition makes once.
type row struct {
	name string
	task load.Task
	// What it needs beside itself:
	postgres bool
	redis    string // its appendfsync
	module   string // the folder of another module that its program is in
	ours     bool
	unheard  bool    // nothing arrives at the receiver
	warm     float64 // its warm-up, times the others'
}

// The shapes of load.
func batches(n, size, window int) load.Task {
	return load.Task{Callers: n, Batch: size, Window: window}
}

func callers(n, window int) load.Task { return load.Task{Callers: n, Batch: 1, Window: window} }

func paced() load.Task { return load.Task{Rate: 200} }

func (t row) of(contender string, params map[string]int) row {
	t.task.Contender, t.task.Params = contender, params
	return t
}

// small has processes with a tenth of a processor each, and a server with two fifths of one: so the database comes
// to its end while the machine has processors to spare.
func small(processes int) row {
	params := map[string]int{"processes": processes, "process_quota": 10, "server_quota": 40}
	r := row{name: report.SmallRow(processes), postgres: true, task: batches(2*processes, 64, max(512, 128*processes))}
	return r.of("processes", params)
}

// plan has the rows in the order of each repetition: what is compared most stands close together. The settings
// are the best of those tried on two cores.
func plan() []row {
	slow := map[string]int{"commit_us": 2000}
	return []row{
		row{name: "bare", task: callers(8, 1<<30)}.of("bare", nil),
		row{name: "sqlite/batch", ours: true, task: batches(2, 64, 500)}.of("sqlite", nil),
		row{name: "sqlite/send32", ours: true, task: callers(32, 1000)}.of("sqlite", nil),
		row{name: "sqlite/send256", ours: true, task: callers(256, 1000)}.of("sqlite", nil),
		row{name: "sqlite+2ms/batch", ours: true, task: batches(2, 64, 500)}.of("sqlite", slow),
		row{name: "sqlite+2ms/send256", ours: true, task: callers(256, 1000)}.of("sqlite", slow),
		row{name: "memory/batch", ours: true, task: batches(2, 64, 500)}.of("memory", nil),
		row{name: "postgres/batch", ours: true, postgres: true, task: batches(2, 64, 500)}.of("postgres", nil),
		row{name: "postgres/send32", ours: true, postgres: true, task: callers(32, 1000)}.of("postgres", nil),
		row{name: "postgres/send256", ours: true, postgres: true, task: callers(256, 1000)}.of("postgres", nil),
		row{name: "postgres-2/batch", postgres: true, task: batches(4, 64, 512)}.of("processes", map[string]int{"processes": 2}),
		row{name: "postgres-4/batch", postgres: true, task: batches(8, 64, 512)}.of("processes", map[string]int{"processes": 4}),
		small(1), small(2), small(4), small(8),
		row{name: "river-postgres/batch", postgres: true, task: batches(1, 2000, 8000)}.of("river-postgres", map[string]int{"workers": 1000, "fetch_ms": 50}),
		row{name: "river-postgres/send32", postgres: true, task: callers(32, 1000)}.of("river-postgres", map[string]int{"workers": 200, "fetch_ms": 50}),
		row{name: "river-postgres/send256", postgres: true, task: callers(256, 1000)}.of("river-postgres", map[string]int{"workers": 200, "fetch_ms": 50}),
		row{name: "river-sqlite/batch", module: "riversqlite", task: batches(1, 200, 400)}.of("river-sqlite", map[string]int{"workers": 100, "fetch_ms": 1}),
		row{name: "asynq-everysec/send32", redis: "everysec", task: callers(32, 1000)}.of("asynq", map[string]int{"workers": 64}),
		row{name: "asynq-always/send32", redis: "always", task: callers(32, 1000)}.of("asynq", map[string]int{"workers": 64}),
		row{name: "backlite/batch", task: batches(1, 200, 400)}.of("backlite", map[string]int{"workers": 400}),
		row{name: "table-sqlite/batch", task: batches(1, 200, 400)}.of("table-sqlite", map[string]int{"workers": 64}),
		row{name: "table-postgres/batch", postgres: true, task: batches(1, 500, 2000)}.of("table-postgres", map[string]int{"workers": 32}),

		row{name: "fdatasync@200", unheard: true, task: paced()}.of("fdatasync", nil),
		row{name: "sqlite@200", ours: true, task: paced()}.of("sqlite", nil),
		row{name: "postgres@200", ours: true, postgres: true, task: paced()}.of("postgres", nil),
		row{name: "river-postgres@200", postgres: true, task: paced()}.of("river-postgres", map[string]int{"workers": 200, "fetch_ms": 1}),
		row{name: "river-sqlite@200", module: "riversqlite", task: paced()}.of("river-sqlite", map[string]int{"workers": 100, "fetch_ms": 1}),
		row{name: "asynq-everysec@200", redis: "everysec", task: paced()}.of("asynq", map[string]int{"workers": 64}),
		row{name: "asynq-always@200", redis: "always", task: paced()}.of("asynq", map[string]int{"workers": 64}),
		row{name: "backlite@200", task: paced()}.of("backlite", map[string]int{"workers": 64}),
		row{name: "table-sqlite@200", task: paced()}.of("table-sqlite", map[string]int{"workers": 64}),
		row{name: "table-postgres@200", postgres: true, task: paced()}.of("table-postgres", map[string]int{"workers": 32}),

		row{name: "storm/calm", ours: true, task: load.Task{Rate: 400}}.of("storm", nil),
		row{name: "storm/rough", ours: true, warm: 4, task: load.Task{Rate: 400}}.of("storm", map[string]int{"hanging": 1}),
	}
}
