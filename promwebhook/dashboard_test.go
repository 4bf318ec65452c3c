package promwebhook_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/promwebhook"
)

// described returns the names of all metrics and their labels.
func described(t *testing.T) map[string][]string {
	ch := make(chan *prometheus.Desc, 100)
	promwebhook.New(promwebhook.Config{}).Describe(ch)
	close(ch)
	form := regexp.MustCompile(`^Desc\{fqName: "(\w+)", .*variableLabels: \[(.*)\]\}$`)
	found := map[string][]string{}
	for d := range ch {
		parts := form.FindStringSubmatch(d.String())
		require.NotNil(t, parts, d.String())
		found[parts[1]] = strings.Fields(parts[2])
	}
	return found
}

func base(metric string) string {
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, ok := strings.CutSuffix(metric, suffix); ok {
			return name
		}
	}
	return metric
}

// Every query of the dashboard is about metrics and labels that exist, and every metric is on it.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Title  string
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	metrics, shown := described(t), map[string]bool{}
	ids := map[int]bool{}
	selector := regexp.MustCompile(`\b(webhook_\w+)(?:\{([^}]*)\})?`)
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Title)
		require.False(t, ids[panel.ID], "panel %d twice", panel.ID)
		ids[panel.ID] = true
		require.NotEmpty(t, panel.Targets)
		for _, target := range panel.Targets {
			require.Equal(t, strings.Count(target.Expr, "("), strings.Count(target.Expr, ")"), target.Expr)
			found := selector.FindAllStringSubmatch(target.Expr, -1)
			require.NotEmpty(t, found, target.Expr)
			for _, m := range found {
				name := base(m[1])
				require.Contains(t, metrics, name, target.Expr)
				shown[name] = true
				known := append([]string{"job", "instance", "le"}, metrics[name]...)
				for _, label := range labelsIn(target.Expr, m[2]) {
					require.Contains(t, known, label, target.Expr)
				}
			}
		}
	}
	for name := range metrics {
		require.True(t, shown[name], "%s is on no panel", name)
	}
}

// labelsIn returns the labels that a query selects or groups by.
func labelsIn(expr, matchers string) (found []string) {
	for _, m := range regexp.MustCompile(`(\w+)(?:=~|!~|!=|=)`).FindAllStringSubmatch(matchers, -1) {
		found = append(found, m[1])
	}
	for _, m := range regexp.MustCompile(`\bby \(([^)]*)\)`).FindAllStringSubmatch(expr, -1) {
		found = append(found, strings.FieldsFunc(m[1], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return found
}

// The package's page lists every metric with its labels, and no other.
func TestDocumentation(t *testing.T) {
	source, err := os.ReadFile("promwebhook.go")
	require.NoError(t, err)
	page, _, _ := strings.Cut(string(source), "\npackage ")
	documented := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^//\t(webhook_\w+)(?:\{(.*)\})?`).FindAllStringSubmatch(page, -1) {
		documented[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' })
	}
	metrics := described(t)
	for name, labels := range metrics {
		require.Contains(t, documented, name)
		require.True(t, slices.Equal(labels, documented[name]), "%s: %v, documented %v", name, labels, documented[name])
	}
	require.Len(t, documented, len(metrics))
}
