package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// The service is killed in the middle three times; whatever was ordered is sent, and nothing else.
func TestOutbox(t *testing.T) {
	program := filepath.Join(t.TempDir(), "outbox.exe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	for name, args := range map[string]func(t *testing.T) []string{
		"SQLite":   func(*testing.T) []string { return nil },
		"Postgres": func(t *testing.T) []string { return []string{"-postgres", pgtest.Database(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), program, append(args(t), "-orders", "150")...)
			c.Dir = t.TempDir()
			out, err := c.CombinedOutput()
			require.NoError(t, err, string(out))
			require.Regexp(t, `^\d{3} orders; 0 of them not sent, \d+ sent more than once; `+
				`sent without an order: 0, for a rolled-back one: 0\n$`, string(out))
		})
	}
}
