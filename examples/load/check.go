package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/outhook/webhook"
)

// checkStore counts the rows themselves, and holds the counters against them.
func checkStore(ctx context.Context, p plan, d *webhook.Dispatcher) error {
	deliveries, err := countDeliveries(ctx, d)
	if err != nil {
		return err
	}
	attempts, err := countAttempts(ctx, d)
	if err != nil {
		return err
	}
	stats, err := d.Stats(ctx, webhook.StatsQuery{AllTenants: true})
	if err != nil {
		return err
	}
	fmt.Printf("file: %d events × %d matching endpoints, %d deliveries, %d attempts\n",
		p.events, p.matching, deliveries, attempts)
	if deliveries != p.deliveries() || attempts != p.deliveries() {
		return fmt.Errorf("not %d deliveries with one attempt each", p.deliveries())
	}
	if stats.Succeeded != int64(deliveries) || stats.Pending != 0 {
		return fmt.Errorf("the counters say %d succeeded and %d pending", stats.Succeeded, stats.Pending)
	}
	return nil
}

func countDeliveries(ctx context.Context, d *webhook.Dispatcher) (n int, err error) {
	for item, err := range d.Deliveries(ctx, webhook.DeliveryQuery{AllTenants: true, Limit: 500}) {
		if err != nil {
			return n, err
		}
		if item.State != webhook.StateSucceeded || item.AttemptCount != 1 {
			return n, fmt.Errorf("delivery %s is %s after %d attempts", item.ID, item.State, item.AttemptCount)
		}
		n++
	}
	return n, nil
}

func countAttempts(ctx context.Context, d *webhook.Dispatcher) (n int, err error) {
	q := webhook.AttemptQuery{AllTenants: true, Limit: 500}
	for {
		page, err := d.ListAttempts(ctx, q)
		if err != nil || len(page) == 0 {
			return n, err
		}
		for _, a := range page {
			if a.Status != webhook.AttemptSucceeded || a.AttemptNumber != 1 {
				return n, fmt.Errorf("attempt %s is number %d and %s", a.ID, a.AttemptNumber, a.Status)
			}
		}
		n += len(page)
		q.After = page[len(page)-1].ID
	}
}

// sampling watches the live heap, from the time it was started on.
type sampling struct {
	total    int // deliveries to come
	baseline uint64
	samples  []uint64 // bytes above the baseline, at equal steps of progress
}

const samplesWanted = 40

func startSampling(total int) *sampling {
	return &sampling{total: total, baseline: liveHeap()}
}

// sampleAt takes a sample when another step of the work is done.
func (s *sampling) sampleAt(arrived int) {
	if step := arrived * samplesWanted / s.total; step <= len(s.samples) {
		return
	}
	live := liveHeap()
	s.samples = append(s.samples, live-min(live, s.baseline))
}

func (s *sampling) last() uint64 {
	if len(s.samples) == 0 {
		return 0
	}
	return s.samples[len(s.samples)-1]
}

// check fails if the second half of the work needed more memory than the first. It goes by medians:
// what happens to be in flight at one moment is noise.
func (s *sampling) check() error {
	if len(s.samples) < 4 {
		return fmt.Errorf("only %d samples of the heap; send more events", len(s.samples))
	}
	half := len(s.samples) / 2
	first, most := medianAndMost(s.samples[:half])
	fmt.Printf("heap, first half: %s, at most %s\n", mebibytes(first), mebibytes(most))
	second, most := medianAndMost(s.samples[half:])
	fmt.Printf("heap, second half: %s, at most %s\n", mebibytes(second), mebibytes(most))
	if slack := max(first/5, 4<<20); second > first+slack {
		return fmt.Errorf("the heap grew by %s from the first half to the second", mebibytes(second-first))
	}
	return nil
}

func medianAndMost(samples []uint64) (median, most uint64) {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/2], sorted[len(sorted)-1]
}

func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
