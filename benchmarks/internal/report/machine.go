package report

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine says where was measured.
type Machine struct {
	CPU, CPUs, OS, Go, Disk string
}

// ThisMachine describes this one, and the file system that dir is on.
func ThisMachine(dir string) Machine {
	m := Machine{
		CPU: "unknown CPU", CPUs: fmt.Sprint(runtime.NumCPU()), OS: runtime.GOOS + "/" + runtime.GOARCH,
		Go: runtime.Version(), Disk: "unknown file system",
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if kind := fileSystem(dir); kind != "" {
		m.Disk = kind
	}
	if m.Disk == "tmpfs" {
		fmt.Fprintf(os.Stderr, "WARNING: %s is in memory, where fdatasync costs nothing; give -dir a folder on a disk\n", dir)
	}
	return m
}

func (m Machine) String() string {
	return fmt.Sprintf("%s cores of %s, %s, %s, %s", m.CPUs, m.CPU, m.OS, m.Go, m.Disk)
}

// fileSystem asks /proc for the kind of the longest mount point above dir.
func fileSystem(dir string) (kind string) {
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	longest := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(fields[1], "/") + "/"
		if strings.HasPrefix(dir+"/", at) && len(at) >= longest {
			longest, kind = len(at), fields[2]
		}
	}
	return kind
}
