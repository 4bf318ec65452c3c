// Package report keeps what was measured and tells it: as a table of figures with their goals, a table of all
// contenders, and a chart.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files that are written.
const (
	Readme  = "README.md"
	chart   = "results.svg"
	rawData = "results.json"
)

// Results has the values of each row in each repetition.
type Results struct {
	Date    string
	Machine Machine
	Reps    int
	Rows    map[string][]map[string]float64 // by row, by repetition
	Skipped map[string]string               // rows that were left out, and why
}

// New returns results without any.
func New(reps int) *Results {
	return &Results{
		Date: time.Now().UTC().Format(time.DateOnly), Reps: reps,
		Rows: map[string][]map[string]float64{}, Skipped: map[string]string{},
	}
}

// Read reads what Write wrote to a folder.
func Read(dir string) (*Results, error) {
	b, err := os.ReadFile(filepath.Join(dir, rawData))
	if err != nil {
		return nil, err
	}
	r := New(0)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", rawData, err)
	}
	return r, nil
}

// Write keeps the results.
func (r *Results) Write(dir string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, rawData), append(b, '\n'), 0o644)
}

// Add takes the values of a row in a repetition, from 0. The first takes the place of what was there.
func (r *Results) Add(rep int, row string, values map[string]float64) {
	for name, v := range values {
		values[name] = math.Round(v*1e4) / 1e4
	}
	if rep == 0 {
		r.Rows[row] = nil
		delete(r.Skipped, row)
	}
	r.Rows[row] = append(r.Rows[row], values)
}

// Skip notes that a row was left out.
func (r *Results) Skip(row, why string) {
	delete(r.Rows, row)
	r.Skipped[row] = why
}

// Line shows the values of a row in one line.
func Line(values map[string]float64) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, " %s=%s", name, number(values[name]))
	}
	return b.String()[1:]
}

// number shows three digits, or all before the point.
func number(v float64) string {
	size := math.Abs(v)
	switch {
	case size >= 10000:
		return thousands(int(math.Round(v)))
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// Spread is a median with the least and the greatest value.
type Spread struct{ Median, Min, Max float64 }

func (s Spread) String() string {
	return fmt.Sprintf("%s (%s – %s)", number(s.Median), number(s.Min), number(s.Max))
}

func spread(values []float64) Spread {
	slices.Sort(values)
	n := len(values)
	return Spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// errNothing means that a figure's rows were not measured.
var errNothing = errors.New("not measured")

// of returns the spread of a value over the repetitions.
func (r *Results) of(row, name string) (Spread, error) {
	var values []float64
	for _, v := range r.Rows[row] {
		values = append(values, v[name])
	}
	if len(values) == 0 {
		return Spread{}, errNothing
	}
	return spread(values), nil
}

// ratio returns the spread of one value over another of the same repetition.
func (r *Results) ratio(row, name, overRow, overName string) (Spread, error) {
	above, below := r.Rows[row], r.Rows[overRow]
	var values []float64
	for i := range min(len(above), len(below)) {
		if d := below[i][overName]; d > 0 {
			values = append(values, above[i][name]/d)
		}
	}
	if len(values) == 0 {
		return Spread{}, errNothing
	}
	return spread(values), nil
}
