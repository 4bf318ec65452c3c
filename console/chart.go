package console

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// charts show attempts over a span of time, as pictures and as the table of their numbers.
type charts struct {
	Buckets   []bucket // oldest first
	Succeeded int64
	Failed    int64
	Most      int64 // attempts in one bucket, rounded up for the axis
	Latency   [3]string
	Marks     []mark // of the axis of latencies
	Span      string
	Each      string // what a bucket is: "hour" or "6 hours"
}

// bucket is one bar and one row.
type bucket struct {
	Start             time.Time
	Succeeded, Failed int64
	// Percentiles are latencies in milliseconds, 50, 95 and 99; negative: no response came.
	Percentiles [3]float64
	Over        bool // the highest is more than the longest bound

	// In a picture of chartWidth × chartHeight.
	X, Width   float64
	SucceededY float64
	SucceededH float64
	FailedY    float64
	FailedH    float64
	Label      string
	latency    [12]int64
}

type mark struct {
	Y    float64
	Text string
}

const (
	chartWidth  = 960.0
	chartHeight = 160.0
)

// newCharts draws the hours before until. Buckets are hours, or six of them when there are many.
func newCharts(hours []webhook.HourStats, until time.Time, span time.Duration) charts {
	width, each, layout := time.Hour, "hour", "15:04"
	if span > 48*time.Hour {
		width, each, layout = 6*time.Hour, "6 hours", "Jan 2 15:04"
	}
	end := until.UTC().Truncate(width).Add(width)
	n := int(span / width)
	c := charts{Buckets: make([]bucket, n), Each: each, Span: "24 hours"}
	if span > 24*time.Hour {
		c.Span = fmt.Sprintf("%d days", int(span/(24*time.Hour)))
	}
	start := end.Add(-time.Duration(n) * width)
	for i := range c.Buckets {
		at := start.Add(time.Duration(i) * width)
		c.Buckets[i] = bucket{Start: at, Label: at.Format(layout), Percentiles: [3]float64{-1, -1, -1}}
	}
	for _, h := range hours {
		if i := int(h.Start.Sub(start) / width); !h.Start.Before(start) && i < n {
			c.Buckets[i].add(h)
		}
	}
	c.draw()
	return c
}

func (b *bucket) add(h webhook.HourStats) {
	b.Succeeded += h.Succeeded
	b.Failed += h.Failed
	for i, n := range h.Latency {
		b.latency[i] += n
	}
}

func (c *charts) draw() {
	for _, b := range c.Buckets {
		c.Succeeded += b.Succeeded
		c.Failed += b.Failed
		c.Most = max(c.Most, b.Succeeded+b.Failed)
	}
	c.Most = roundUp(c.Most)
	step := chartWidth / float64(len(c.Buckets))
	for i := range c.Buckets {
		b := &c.Buckets[i]
		b.X, b.Width = round(float64(i)*step+step*0.14), round(step*0.72)
		b.SucceededH = round(float64(b.Succeeded) / float64(c.Most) * chartHeight)
		b.FailedH = round(float64(b.Failed) / float64(c.Most) * chartHeight)
		b.SucceededY = round(chartHeight - b.SucceededH)
		b.FailedY = round(b.SucceededY - b.FailedH)
		for j, share := range []float64{0.50, 0.95, 0.99} {
			b.Percentiles[j], b.Over = percentile(b.latency, share)
		}
	}
	c.drawLatency(step)
}

// drawLatency makes a line for each percentile, on a logarithmic axis: 5 ms and 5 s are worth a look both.
// Where nothing was answered the line has a gap.
func (c *charts) drawLatency(step float64) {
	const low, high = 1.0, 10_000.0
	y := func(ms float64) float64 {
		share := math.Log(min(max(ms, low), high)/low) / math.Log(high/low)
		return round(chartHeight - share*chartHeight)
	}
	for j := range c.Latency {
		var path strings.Builder
		drawn := false
		for i, b := range c.Buckets {
			if b.Percentiles[j] < 0 {
				drawn = false
				continue
			}
			x, at := round((float64(i)+0.5)*step), y(b.Percentiles[j])
			if drawn {
				fmt.Fprintf(&path, "L%v %v", x, at)
			} else {
				// A short stroke, so that a lonely point is seen.
				fmt.Fprintf(&path, "M%v %vL%v %v", round(x-step*0.1), at, x, at)
			}
			drawn = true
		}
		c.Latency[j] = path.String()
	}
	for _, m := range []mark{{1, "1 ms"}, {10, "10 ms"}, {100, "100 ms"}, {1000, "1 s"}, {10_000, "10 s"}} {
		c.Marks = append(c.Marks, mark{y(m.Y), m.Text})
	}
	slices.Reverse(c.Marks)
}

// percentile reads a latency out of the counts, evenly spread within each bucket. Beyond the last bound
// it is only known to be over it.
func percentile(counts [12]int64, share float64) (ms float64, over bool) {
	var total int64
	for _, n := range counts {
		total += n
	}
	if total == 0 {
		return -1, false
	}
	rank, lower := share*float64(total), 0.0
	for i, bound := range webhook.LatencyBounds {
		n := float64(counts[i])
		if rank <= n && n > 0 {
			return lower + (float64(bound)-lower)*rank/n, false
		}
		rank, lower = rank-n, float64(bound)
	}
	return lower, true
}

// roundUp gives an axis an end that reads well.
func roundUp(n int64) int64 {
	for unit := int64(1); ; unit *= 10 {
		for _, m := range []int64{1, 2, 5} {
			if n <= m*unit {
				return m * unit
			}
		}
	}
}

func round(v float64) float64 { return math.Round(v*10) / 10 }

// Rate is the share of attempts that succeeded, in words.
func (c charts) Rate() string { return rate(c.Succeeded, c.Failed) }

// Tries are all attempts.
func (c charts) Tries() int64 { return c.Succeeded + c.Failed }

func rate(succeeded, failed int64) string {
	total := succeeded + failed
	if total == 0 {
		return "–"
	}
	percent := float64(succeeded) / float64(total) * 100
	if failed > 0 && percent > 99.9 {
		percent = 99.9 // not all is not 100 %
	}
	if percent == 100 || percent == 0 {
		return fmt.Sprintf("%.0f %%", percent)
	}
	return fmt.Sprintf("%.1f %%", percent)
}

// Time is a percentile for the table.
func (b bucket) Time(i int) string {
	if b.Percentiles[i] < 0 {
		return "–"
	}
	if b.Over && b.Percentiles[i] >= float64(webhook.LatencyBounds[len(webhook.LatencyBounds)-1]) {
		return "over 10 s"
	}
	return milliseconds(math.Round(b.Percentiles[i]))
}

// Newest are the buckets for the table.
func (c charts) Newest() []bucket {
	list := slices.Clone(c.Buckets)
	slices.Reverse(list)
	return list
}
