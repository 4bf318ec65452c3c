package report

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// contender is a line of the tables and the chart.
type contender struct {
	title string
	row   string // of deliveries as fast as they go
	paced string // of Sends at a constant rate
	safe  string // what a power failure takes
	ours  bool
}

var contenders = []contender{
	{title: "bare `net/http` loop, nothing stored, not signed", row: "bare", safe: "–"},
	{title: "**outhook, SQLite, SendBatch**", row: "sqlite/batch", safe: "yes", ours: true},
	{title: "**outhook, SQLite, Send by 32 callers**", row: "sqlite/send32", paced: "sqlite@200", safe: "yes", ours: true},
	{title: "**outhook, SQLite, Send by 256 callers**", row: "sqlite/send256", safe: "yes", ours: true},
	{title: "**outhook, SQLite, 2 ms added to each commit, SendBatch**", row: "sqlite+2ms/batch", safe: "yes", ours: true},
	{title: "**outhook, SQLite, 2 ms added, Send by 256 callers**", row: "sqlite+2ms/send256", safe: "yes", ours: true},
	{title: "**outhook, memory store, SendBatch**", row: "memory/batch", safe: "no", ours: true},
	{title: "**outhook, Postgres, SendBatch**", row: "postgres/batch", safe: "yes", ours: true},
	{title: "**outhook, Postgres, Send by 32 callers**", row: "postgres/send32", paced: "postgres@200", safe: "yes", ours: true},
	{title: "**outhook, Postgres, Send by 256 callers**", row: "postgres/send256", safe: "yes", ours: true},
	{title: "**outhook, Postgres, SendBatch in 2 processes**", row: "postgres-2/batch", safe: "yes", ours: true},
	{title: "**outhook, Postgres, SendBatch in 4 processes**", row: "postgres-4/batch", safe: "yes", ours: true},
	{title: "River on Postgres, InsertManyFast", row: "river-postgres/batch", safe: "yes"},
	{title: "River on Postgres, Insert by 32 callers", row: "river-postgres/send32", paced: "river-postgres@200", safe: "yes"},
	{title: "River on Postgres, Insert by 256 callers", row: "river-postgres/send256", safe: "yes"},
	{title: "River on SQLite, InsertMany", row: "river-sqlite/batch", paced: "river-sqlite@200", safe: "yes"},
	{title: "asynq, Redis everysec, 32 callers", row: "asynq-everysec/send32", paced: "asynq-everysec@200", safe: "no"},
	{title: "asynq, Redis always, 32 callers", row: "asynq-always/send32", paced: "asynq-always@200", safe: "yes"},
	{title: "backlite, batches", row: "backlite/batch", paced: "backlite@200", safe: "yes"},
	{title: "polling table by hand, SQLite, batches", row: "table-sqlite/batch", paced: "table-sqlite@200", safe: "yes"},
	{title: "polling table by hand, Postgres, batches", row: "table-postgres/batch", paced: "table-postgres@200", safe: "yes"},
}

// Print shows the figures to a terminal.
func (r *Results) Print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range figures() {
		s, err := f.of(r)
		if err != nil {
			fmt.Fprintf(t, "%s\t%s\t%v\n", f.what, f.goalText(), err)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.what, f.goalText(), s, verdict(f.reached(s)))
	}
	t.Flush()
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "not reached"
}

const (
	beginMark = "<!-- begin: written by the program -->"
	endMark   = "<!-- end: written by the program -->"
)

// WriteReadme puts the tables between the marks of a folder's README, and the chart beside it.
func (r *Results) WriteReadme(dir string) error {
	path := filepath.Join(dir, Readme)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(old), beginMark)
	_, after, closed := strings.Cut(rest, endMark)
	if !found || !closed {
		return fmt.Errorf("%s lacks the marks %q and %q", path, beginMark, endMark)
	}
	text := before + beginMark + "\n\n" + r.markdown() + "\n" + endMark + after
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, chart), r.svg(), 0o644)
}

func (r *Results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s. Medians of %d interleaved repetitions (least – greatest).\n\n", r.Date, r.Machine, r.fewest())
	b.WriteString("| figure | goal | measured | |\n|---|---|---|---|\n")
	for _, f := range figures() {
		s, err := f.of(r)
		if err != nil {
			fmt.Fprintf(&b, "| %s | %s | %v | |\n", f.what, f.goalText(), err)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", f.what, f.goalText(), joined(s.String(), f.unit), verdict(f.reached(s)))
	}
	fmt.Fprintf(&b, "\n%s![CPU and rate of all contenders](%s)\n\n", r.scale(), chart)
	r.ratesTable(&b)
	r.latencyTable(&b)
	r.processesTable(&b)
	for _, name := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(&b, "Left out: %s, %s.\n", name, r.Skipped[name])
	}
	return b.String()
}

// fewest is how many repetitions every row has.
func (r *Results) fewest() int {
	n := r.Reps
	for _, reps := range r.Rows {
		n = min(n, len(reps))
	}
	return n
}

func (r *Results) scale() string {
	waiting, err1 := r.of("waiting", "deliveries")
	finished, err2 := r.of("finished", "deliveries")
	if err1 != nil || err2 != nil {
		return ""
	}
	return fmt.Sprintf("Deliveries that waited: %s. Finished ones: %s.\n\n", number(waiting.Median), number(finished.Median))
}

func (r *Results) ratesTable(b *strings.Builder) {
	b.WriteString("| as fast as it goes | safe on power loss | deliveries a second | / bare | CPU µs per delivery | of these, database | / bare |\n|---|---|---|---|---|---|---|\n")
	for _, c := range contenders {
		rate, err := r.of(c.row, "rate")
		if err != nil {
			continue
		}
		cpu, _ := r.of(c.row, "cpu_us")
		server, _ := r.of(c.row, "server_us")
		rateRatio, _ := r.ratio(c.row, "rate", "bare", "rate")
		cpuRatio, _ := r.ratio(c.row, "cpu_us", "bare", "cpu_us")
		database := "in process"
		if server.Median > 0 {
			database = number(server.Median)
		} else if c.row == "bare" {
			database = "–"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", c.title, c.safe, number(rate.Median), rateRatio, number(cpu.Median), database, cpuRatio)
	}
}

func (r *Results) latencyTable(b *strings.Builder) {
	b.WriteString("\n| at 200 Sends a second, ms | Send p50 | Send p99 | Send to receipt p50 | Send to receipt p99 |\n|---|---|---|---|---|\n")
	lines := append([]contender{{title: "one 16 KB write + fdatasync", paced: "fdatasync@200"}}, contenders...)
	for _, c := range lines {
		send50, err := r.of(c.paced, "send_p50_ms")
		if err != nil {
			continue
		}
		send99, _ := r.of(c.paced, "send_p99_ms")
		receipt50, receipt99 := "–", "–"
		if s, err := r.of(c.paced, "receipt_p50_ms"); err == nil && s.Median > 0 {
			receipt50 = s.String()
			s, _ = r.of(c.paced, "receipt_p99_ms")
			receipt99 = s.String()
		}
		title, _, _ := strings.Cut(c.title, ", Send by")
		title, _, _ = strings.Cut(title, ", Insert by")
		title, _, _ = strings.Cut(title, ", 32 callers")
		title, _, _ = strings.Cut(title, ", batches")
		if c.ours {
			title += "**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", title, send50, send99, receipt50, receipt99)
	}
	b.WriteString("\n")
}

// SmallRow names the row of so many processes with a tenth of a processor each.
func SmallRow(processes int) string { return fmt.Sprintf("postgres-small-%d/batch", processes) }

// Small lists the numbers of such processes.
var Small = []int{1, 2, 4, 8}

func (r *Results) processesTable(b *strings.Builder) {
	head := "| Postgres with 0.4 of a processor, processes with 0.1 each | deliveries a second | / one process | CPU µs per delivery | of these, database |\n|---|---|---|---|---|\n"
	for _, n := range Small {
		row := SmallRow(n)
		rate, err := r.of(row, "rate")
		if err != nil {
			continue
		}
		cpu, _ := r.of(row, "cpu_us")
		server, _ := r.of(row, "server_us")
		ratio, _ := r.ratio(row, "rate", SmallRow(1), "rate")
		fmt.Fprintf(b, "%s| %d | %s | %s | %s | %s |\n", head, n, number(rate.Median), ratio, number(cpu.Median), number(server.Median))
		head = ""
	}
	if head == "" {
		b.WriteString("\n")
	}
}
