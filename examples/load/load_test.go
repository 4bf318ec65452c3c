package main_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoad(t *testing.T) {
	program := filepath.Join(t.TempDir(), "load.exe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))

	db := filepath.Join(t.TempDir(), "load.db")
	out, err = exec.CommandContext(t.Context(), program,
		"-events", "5000", "-endpoints", "10", "-matching", "3", "-db", db).CombinedOutput()
	t.Log(string(out))
	require.NoError(t, err)
	require.Contains(t, string(out), "file: 5000 events × 3 matching endpoints, 15000 deliveries, 15000 attempts")
	require.Contains(t, string(out), "receiver: 15000 arrived, 0 duplicates, 0 at a wrong endpoint")
	require.Regexp(t, `heap, second half: [\d.]+ MiB`, string(out))

	out, err = exec.CommandContext(t.Context(), program, "-events", "1", "-db", db).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "exists; give -db a new file")
}
