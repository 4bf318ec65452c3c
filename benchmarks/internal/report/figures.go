package report

import "fmt"

// figure is a number that is to be reached.
type figure struct {
	what string
	goal float64
	most bool // the goal is the most that it may be, not the least
	unit string
	measure
}

// measure finds a figure in the results.
type measure struct {
	rows []string
	of   func(*Results) (Spread, error)
}

func atMost(goal float64, what string, m measure) figure {
	return figure{what: what, goal: goal, most: true, measure: m}
}

func atLeast(goal float64, what string, m measure) figure {
	return figure{what: what, goal: goal, measure: m}
}

func (f figure) in(unit string) figure {
	f.unit = unit
	return f
}

func ratio(row, name, overRow, overName string) measure {
	return measure{[]string{row, overRow}, func(r *Results) (Spread, error) { return r.ratio(row, name, overRow, overName) }}
}

func value(row, name string) measure {
	return measure{[]string{row}, func(r *Results) (Spread, error) { return r.of(row, name) }}
}

func difference(row, name, less string) measure {
	return measure{[]string{row}, func(r *Results) (Spread, error) {
		var values []float64
		for _, v := range r.Rows[row] {
			values = append(values, v[name]-v[less])
		}
		if len(values) == 0 {
			return Spread{}, errNothing
		}
		return spread(values), nil
	}}
}

// Needs names the rows that figures and tables are made from.
func Needs() (rows []string) {
	for _, f := range figures() {
		rows = append(rows, f.rows...)
	}
	for _, c := range contenders {
		rows = append(rows, c.row)
		if c.paced != "" {
			rows = append(rows, c.paced)
		}
	}
	for _, n := range Small {
		rows = append(rows, SmallRow(n))
	}
	return rows
}

// figures are those that the project has set itself. Ratios are of values of the same repetition.
func figures() []figure {
	return []figure{
		atMost(1.0, "CPU per delivery: SendBatch / bare POST", ratio("sqlite/batch", "cpu_us", "bare", "cpu_us")),
		atMost(1.3, "CPU per delivery: Send by 32 callers / bare POST", ratio("sqlite/send32", "cpu_us", "bare", "cpu_us")),
		atLeast(1.0, "deliveries a second: SendBatch / bare loop", ratio("sqlite/batch", "rate", "bare", "rate")),
		atLeast(0.5, "deliveries a second: Send by 32 callers / bare loop", ratio("sqlite/send32", "rate", "bare", "rate")),
		atLeast(8, "deliveries a second: SendBatch / River on Postgres", ratio("sqlite/batch", "rate", "river-postgres/batch", "rate")),
		atMost(0.1, "CPU per delivery: SendBatch / River on Postgres", ratio("sqlite/batch", "cpu_us", "river-postgres/batch", "cpu_us")),
		atLeast(4, "both on Postgres, deliveries a second: SendBatch / River's batches", ratio("postgres/batch", "rate", "river-postgres/batch", "rate")),
		atMost(0.25, "both on Postgres, CPU per delivery: SendBatch / River's batches", ratio("postgres/batch", "cpu_us", "river-postgres/batch", "cpu_us")),
		atLeast(4, "both on Postgres, deliveries a second: Send / River's Insert, 32 callers", ratio("postgres/send32", "rate", "river-postgres/send32", "rate")),
		atMost(0.25, "both on Postgres, CPU per delivery: Send / River's Insert, 32 callers", ratio("postgres/send32", "cpu_us", "river-postgres/send32", "cpu_us")),
		atLeast(4, "both on Postgres, deliveries a second: Send / River's Insert, 256 callers", ratio("postgres/send256", "rate", "river-postgres/send256", "rate")),
		atMost(0.25, "both on Postgres, CPU per delivery: Send / River's Insert, 256 callers", ratio("postgres/send256", "cpu_us", "river-postgres/send256", "cpu_us")),
		atMost(1.5, "Send p50 / write + fdatasync of 16 KB p50, at 200/s", ratio("sqlite@200", "send_p50_ms", "fdatasync@200", "send_p50_ms")),
		atMost(1.5, "Send p99 / write + fdatasync of 16 KB p99, at 200/s", ratio("sqlite@200", "send_p99_ms", "fdatasync@200", "send_p99_ms")),
		atMost(2, "Send to receipt p99 / write + fdatasync p99, at 200/s", ratio("sqlite@200", "receipt_p99_ms", "fdatasync@200", "send_p99_ms")),
		atLeast(0.9, "2 ms added to every commit: SendBatch's rate / without", ratio("sqlite+2ms/batch", "rate", "sqlite/batch", "rate")),
		atLeast(0.6, "2 ms added to every commit: rate of Send by 256 callers / bare loop", ratio("sqlite+2ms/send256", "rate", "bare", "rate")),
		atMost(1.2, "healthy endpoints' p99, 5 of 100 hanging / without", ratio("storm/rough", "receipt_p99_ms", "storm/calm", "receipt_p99_ms")),
		atMost(1.15, "CPU of claim and finish: many finished rows / 10,000", value("finished", "ratio")),
		atMost(64, "deliveries that wait: memory more than without", difference("waiting", "many_mib", "none_mib")).in("MiB"),
		atMost(1000, "deliveries that wait: open the store", value("waiting", "open_ms")).in("ms"),
		atMost(50, "deliveries that wait: p99 of a page of their list", value("waiting", "page_p99_ms")).in("ms"),
		atMost(0.6, "CPU per delivery: memory store, SendBatch / bare POST", ratio("memory/batch", "cpu_us", "bare", "cpu_us")),
	}
}

func (f *figure) goalText() string {
	sign := "≥"
	if f.most {
		sign = "≤"
	}
	return joined(fmt.Sprintf("%s %g", sign, f.goal), f.unit)
}

func (f *figure) reached(s Spread) bool {
	if f.most {
		return s.Median <= f.goal
	}
	return s.Median >= f.goal
}

func joined(text, unit string) string {
	if unit == "" {
		return text
	}
	return text + " " + unit
}
