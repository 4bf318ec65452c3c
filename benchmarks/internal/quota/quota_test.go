package quota

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/benchmarks/internal/server"
)

func TestFilesOfEitherVersion(t *testing.T) {
	for _, unified := range []bool{false, true} {
		root := t.TempDir()
		read := func(g *Group, name string) string {
			b, err := os.ReadFile(filepath.Join(g.dir, name))
			require.NoError(t, err)
			return string(b)
		}
		if _, err := newIn(root, "a"); !unified {
			require.ErrorIs(t, err, server.ErrMissing)
			require.NoError(t, os.Mkdir(filepath.Join(root, "cpu"), 0o755))
		} else {
			require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), nil, 0o644))
		}
		g, err := newIn(root, "b")
		require.NoError(t, err)
		require.NoError(t, g.Add(42))
		require.Equal(t, "42", read(g, "cgroup.procs"))
		require.NoError(t, g.Limit(20))
		if unified {
			require.Equal(t, "2000 10000", read(g, "cpu.max"))
			require.NoError(t, g.Limit(0))
			require.Equal(t, "max 10000", read(g, "cpu.max"))
			continue
		}
		require.Equal(t, "10000", read(g, "cpu.cfs_period_us"))
		require.Equal(t, "2000", read(g, "cpu.cfs_quota_us"))
		require.NoError(t, g.Limit(0))
		require.Equal(t, "-1", read(g, "cpu.cfs_quota_us"))
	}
}

func TestALoopGetsItsPart(t *testing.T) {
	g, err := New("outhook-quota-test")
	if err != nil {
		require.ErrorIs(t, err, server.ErrMissing, "its rows are left out, and say so")
		return
	}
	defer func() { require.NoError(t, g.Close()) }()
	require.NoError(t, g.Limit(20))
	loop := exec.Command("sh", "-c", "read go; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
	in, err := loop.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, loop.Start())
	require.NoError(t, g.Add(loop.Process.Pid))
	began := time.Now()
	require.NoError(t, in.Close())
	require.NoError(t, loop.Wait())
	used := loop.ProcessState.UserTime() + loop.ProcessState.SystemTime()
	require.Less(t, used, time.Since(began)*2/5)
}
