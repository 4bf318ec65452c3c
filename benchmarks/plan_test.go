package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/benchmarks/internal/report"
	"github.com/outhook/webhook/benchmarks/internal/sender"
)

func TestPlan(t *testing.T) {
	rows := map[string]bool{"waiting": true, "finished": true}
	for _, r := range plan() {
		require.False(t, rows[r.name], "%s stands twice", r.name)
		rows[r.name] = true
		require.True(t, r.module != "" || sender.Senders[r.task.Contender] != nil || sender.Studies[r.task.Contender] != nil,
			"%s: no contender %q", r.name, r.task.Contender)
		if r.task.Rate == 0 {
			require.LessOrEqual(t, r.task.Batch, r.task.Window, "%s would wait for itself", r.name)
			require.Positive(t, r.task.Callers*r.task.Batch, r.name)
		}
	}
	for _, name := range report.Needs() {
		require.True(t, rows[name], "the report needs row %q, which nothing measures", name)
	}
}
