package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/report"
)

// studies measures what needs full stores, which are filled once.
func (b *bench) studies(ctx context.Context) error {
	if b.o.waiting > 0 && b.o.only.MatchString("waiting") {
		if err := b.waiting(ctx); err != nil {
			return fmt.Errorf("waiting: %w", err)
		}
	}
	if b.o.finished > 0 && b.o.only.MatchString("finished") {
		if err := b.finished(ctx); err != nil {
			return fmt.Errorf("finished: %w", err)
		}
	}
	return nil
}

// waiting fills a store and, as alike as can be, another one with nothing, and compares.
func (b *bench) waiting(ctx context.Context) (err error) {
	dirs := make([]string, 2)
	for i, n := range []int{0, b.o.waiting} {
		dir, remove, err := b.newDir()
		if err != nil {
			return err
		}
		defer remove()
		dirs[i] = dir
		fmt.Fprintf(os.Stderr, "storing %d deliveries that wait\n", n)
		if err := b.fill(ctx, "waiting", dir, n); err != nil {
			return err
		}
	}
	for rep := range b.o.reps {
		pages, err := b.study(ctx, "waiting", dirs[1], map[string]int{"pages": 1000})
		if err != nil {
			return err
		}
		none, err1 := b.study(ctx, "waiting", dirs[0], nil)
		many, err2 := b.study(ctx, "waiting", dirs[1], nil)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		values := map[string]float64{
			"deliveries":  float64(b.o.waiting),
			"open_ms":     many["open_ms"],
			"page_p99_ms": pages["page_p99_ms"],
			"none_mib":    none["peak_mib"],
			"many_mib":    many["peak_mib"],
		}
		b.results.Add(rep, "waiting", values)
		fmt.Fprintf(os.Stderr, "%d/%d %-24s %s\n", rep+1, b.o.reps, "waiting", report.Line(values))
	}
	return nil
}

// finished compares claiming beside many finished deliveries with claiming beside few. One process does all
// rounds, since filling is what takes time.
func (b *bench) finished(ctx context.Context) error {
	dir, remove, err := b.newDir()
	if err != nil {
		return err
	}
	defer remove()
	fmt.Fprintf(os.Stderr, "storing %d finished deliveries\n", b.o.finished)
	if err := b.fill(ctx, "finished", dir, b.o.finished); err != nil {
		return err
	}
	figures, err := b.study(ctx, "finished", dir, map[string]int{"rounds": b.o.reps})
	if err != nil {
		return err
	}
	for rep := range b.o.reps {
		values := map[string]float64{"deliveries": float64(b.o.finished)}
		for _, name := range []string{"ratio", "few_us", "many_us"} {
			v, ok := figures[fmt.Sprintf("%s.%d", name, rep+1)]
			if !ok {
				return fmt.Errorf("no %s of round %d, only %v", name, rep+1, slices.Sorted(maps.Keys(figures)))
			}
			values[name] = v
		}
		b.results.Add(rep, "finished", values)
		fmt.Fprintf(os.Stderr, "%d/%d %-24s %s\n", rep+1, b.o.reps, "finished", report.Line(values))
	}
	return nil
}

// fill lets a study store what it is about. That is no measurement, and takes long.
func (b *bench) fill(ctx context.Context, study, dir string, n int) error {
	_, err := b.run(ctx, []string{b.self}, load.Task{Contender: study, Dir: dir, Params: map[string]int{"fill": n}})
	return err
}

func (b *bench) study(ctx context.Context, name, dir string, params map[string]int) (map[string]float64, error) {
	result, err := b.run(ctx, b.wrapped(b.self), load.Task{
		Contender: name, Dir: dir, Params: params, Measure: min(b.o.measure, 3*time.Second),
	})
	return result.Figures, err
}
