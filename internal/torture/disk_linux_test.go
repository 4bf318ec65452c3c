package main

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test starts itself again where it may mount a small disk.
func TestFullDisk(t *testing.T) {
	if dir := smallDiskDir(); dir != "" {
		require.NoError(t, insideSmallDisk())
		f := run(t, func(o *options) {
			o.Cycles, o.Full, o.Dir = 5, true, dir
			o.MinLife, o.MaxLife = time.Second, 5*time.Second
		})
		require.Positive(t, f.Recovery)
		return
	}
	cmd, remove, err := smallDiskCommand([]string{"-test.run=^TestFullDisk$", "-test.v"})
	require.NoError(t, err)
	defer remove()
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("SKIPPED: no small disk: neither root nor user namespaces here: %v", err)
	}
	t.Logf("%s", out)
	require.NoError(t, err)
}
