// Package quota keeps processes to a part of a processor, as machines of their own with that much would: by
// control groups of Linux, which takes root.
package quota

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/outhook/webhook/benchmarks/internal/server"
)

// mounted is where control groups are.
const mounted = "/sys/fs/cgroup"

// period is short, so that who has used up his part does not wait long.
const period = 10_000 // µs

// Group is a number of processes with one quota.
type Group struct {
	dir     string
	unified bool // control groups of version 2
}

// New makes a group without a quota. The error is server.ErrMissing where that is not possible.
func New(name string) (*Group, error) { return newIn(mounted, name) }

func newIn(root, name string) (*Group, error) {
	g := &Group{dir: filepath.Join(root, "cpu", name)}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		g = &Group{dir: filepath.Join(root, name), unified: true}
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+cpu"), 0o644); err != nil {
			return nil, missing(err)
		}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, missing(err)
	}
	return g, nil
}

func missing(err error) error { return fmt.Errorf("control groups: %w: %w", err, server.ErrMissing) }

// Add moves a process into the group, with all that it starts from then on.
func (g *Group) Add(pid int) error { return g.write("cgroup.procs", strconv.Itoa(pid)) }

// Limit gives the group so many percent of one processor; 0: no limit.
func (g *Group) Limit(percent int) error {
	us, none := strconv.Itoa(period*percent/100), percent == 0
	switch {
	case g.unified && none:
		return g.write("cpu.max", fmt.Sprint("max ", period))
	case g.unified:
		return g.write("cpu.max", fmt.Sprint(us, " ", period))
	case none:
		return g.write("cpu.cfs_quota_us", "-1")
	}
	return errors.Join(g.write("cpu.cfs_period_us", strconv.Itoa(period)), g.write("cpu.cfs_quota_us", us))
}

func (g *Group) write(name, text string) error {
	return os.WriteFile(filepath.Join(g.dir, name), []byte(text), 0o644)
}

// Close removes the group. Its processes must have ended.
func (g *Group) Close() error { return os.Remove(g.dir) }
