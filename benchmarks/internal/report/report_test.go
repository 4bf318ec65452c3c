package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sample() *Results {
	r := New(3)
	for i, rate := range []float64{100, 200, 300} {
		r.Add(i, "bare", map[string]float64{"rate": rate, "cpu_us": 30})
		r.Add(i, "sqlite/batch", map[string]float64{"rate": rate * []float64{1.2, 0.8, 1.1}[i], "cpu_us": 29 + float64(i)})
		r.Add(i, "fdatasync@200", map[string]float64{"send_p50_ms": 0.3, "send_p99_ms": 2})
		r.Add(i, "sqlite@200", map[string]float64{"send_p50_ms": 0.6, "send_p99_ms": 2, "receipt_p50_ms": 1, "receipt_p99_ms": 3})
	}
	for i := range 3 {
		r.Add(i, SmallRow(1), map[string]float64{"rate": 1000, "cpu_us": 90, "server_us": 40})
		r.Add(i, SmallRow(2), map[string]float64{"rate": 1900 + float64(i)*100, "cpu_us": 95, "server_us": 45})
	}
	r.Skip("asynq-always@200", "redis-server: not installed")
	return r
}

func TestRatiosAreOfTheSameRepetition(t *testing.T) {
	s, err := sample().ratio("sqlite/batch", "rate", "bare", "rate")
	require.NoError(t, err)
	require.InDelta(t, 1.1, s.Median, 1e-9)
	require.InDelta(t, 0.8, s.Min, 1e-9)
	require.InDelta(t, 1.2, s.Max, 1e-9)
	_, err = sample().ratio("sqlite/batch", "rate", "river-postgres/batch", "rate")
	require.ErrorIs(t, err, errNothing)
}

func TestMedianOfAnEvenNumber(t *testing.T) {
	require.Equal(t, Spread{Median: 2.5, Min: 1, Max: 4}, spread([]float64{4, 1, 2, 3}))
}

func TestGoals(t *testing.T) {
	most, least := atMost(1, "", measure{}), atLeast(1, "", measure{})
	require.True(t, most.reached(Spread{Median: 1}))
	require.False(t, most.reached(Spread{Median: 1.01}))
	require.True(t, least.reached(Spread{Median: 1}))
	require.False(t, least.reached(Spread{Median: 0.99}))
	mib := atMost(64, "", measure{}).in("MiB")
	require.Equal(t, "≤ 64 MiB", mib.goalText())
}

func TestReadme(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, Readme)
	require.NoError(t, os.WriteFile(readme, []byte("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o600))
	require.NoError(t, sample().Write(dir))
	r, err := Read(dir)
	require.NoError(t, err)
	require.NoError(t, r.WriteReadme(dir))
	b, err := os.ReadFile(readme)
	require.NoError(t, err)
	text := string(b)
	require.True(t, strings.HasPrefix(text, "before\n"+beginMark))
	require.True(t, strings.HasSuffix(text, endMark+"\nafter\n"))
	require.NotContains(t, text, "\nold\n")
	require.Contains(t, text, "| CPU per delivery: SendBatch / bare POST | ≤ 1 | 1.00 (0.97 – 1.03) | reached |")
	require.Contains(t, text, "| Send p50 / write + fdatasync of 16 KB p50, at 200/s | ≤ 1.5 | 2.00 (2.00 – 2.00) | not reached |")
	require.Contains(t, text, "| CPU per delivery: SendBatch / River on Postgres | ≤ 0.1 | not measured | |")
	require.Contains(t, text, "|---|---|---|---|---|\n| 1 | 1000 | 1.00 (1.00 – 1.00) | 90.0 | 40.0 |\n| 2 | 2000 | 2.00 (1.90 – 2.10) | 95.0 | 45.0 |\n\n")
	require.Contains(t, text, "Left out: asynq-always@200, redis-server: not installed.")
	require.Contains(t, text, "Medians of 3 interleaved")

	require.NoError(t, r.WriteReadme(dir))
	again, err := os.ReadFile(readme)
	require.NoError(t, err)
	require.Equal(t, text, string(again))

	svg, err := os.Open(filepath.Join(dir, chart))
	require.NoError(t, err)
	defer svg.Close()
	bars := 0
	for d := xml.NewDecoder(svg); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	require.Equal(t, 1+2*2, bars)
}

func TestReadmeWithoutMarks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, Readme), []byte("mine"), 0o600))
	require.ErrorContains(t, sample().WriteReadme(dir), "lacks the marks")
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{"0.12": 0.123, "12.3": 12.34, "123": 123.4, "1234": 1234.4, "12,345": 12345.4, "1,000,000": 1e6} {
		require.Equal(t, want, number(v))
	}
}
