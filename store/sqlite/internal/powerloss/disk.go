package powerloss

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Sector is what a disk writes whole or not at all, in bytes.
const Sector = 512

// Disk is the state of a directory at one moment of a log.
type Disk struct {
	log     []Op
	at      int
	names   map[string]*inode // as they are safe
	current map[string]*inode // as the program sees them
	pending []entry           // what happened to names since the directory was synced
}

// inode is a file, whatever its name.
type inode struct {
	safe    []byte
	pending []int // ops of the log that were not synced
}

// entry is a name given to a file or, with nil, taken away.
type entry struct {
	name string
	file *inode
}

// NewDisk returns an empty directory at the beginning of a log.
func NewDisk(log []Op) *Disk {
	return &Disk{log: log, names: map[string]*inode{}, current: map[string]*inode{}}
}

// Advance replays the log up to, not including, the op at that place.
func (d *Disk) Advance(to int) {
	for ; d.at < to; d.at++ {
		d.apply(&d.log[d.at])
	}
}

func (d *Disk) apply(op *Op) {
	file := d.current[op.File]
	switch op.Kind {
	case Create:
		file = &inode{}
		d.current[op.File] = file
		d.pending = append(d.pending, entry{op.File, file})
	case Delete:
		delete(d.current, op.File)
		d.pending = append(d.pending, entry{op.File, nil})
	case Write, Truncate:
		file.pending = append(file.pending, d.at)
	case Sync:
		file.sync(d.log, op.Upto)
		// SQLite syncs the directory when it first syncs a journal or WAL that it has opened.
		if strings.HasSuffix(op.File, "-wal") || strings.HasSuffix(op.File, "-journal") {
			d.syncNames(len(d.pending))
		}
	}
}

func (f *inode) sync(log []Op, upto int) {
	n, _ := slices.BinarySearch(f.pending, upto)
	for _, i := range f.pending[:n] {
		f.safe = change(f.safe, &log[i], nil)
	}
	f.pending = slices.Clone(f.pending[n:])
}

func (d *Disk) syncNames(n int) {
	for _, e := range d.pending[:n] {
		if e.file == nil {
			delete(d.names, e.name)
		} else {
			d.names[e.name] = e.file
		}
	}
	d.pending = slices.Clone(d.pending[n:])
}

// Fate decides what becomes of what was not synced when the power goes.
type Fate interface {
	// Names says how many of n changes of the directory are kept: file systems keep them in order.
	Names(n int) int
	// Keeps says whether a write or truncation is kept at all.
	Keeps(op *Op) bool
	// Sector says whether one sector of a write that is kept is.
	Sector() bool
}

// Crash writes to a directory what is left if the power goes now. The disk itself goes on unharmed.
func (d *Disk) Crash(dir string, fate Fate) error {
	names := map[string]*inode{}
	for name, file := range d.names {
		names[name] = file
	}
	for _, e := range d.pending[:fate.Names(len(d.pending))] {
		if e.file == nil {
			delete(names, e.name)
		} else {
			names[e.name] = e.file
		}
	}
	var err error
	for name, file := range names {
		content := slices.Clone(file.safe)
		for _, i := range file.pending {
			if op := &d.log[i]; fate.Keeps(op) {
				content = change(content, op, fate.Sector)
			}
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	return err
}

// change does a write or truncation to a content; keeps may leave out sectors.
func change(content []byte, op *Op, keeps func() bool) []byte {
	if op.Kind == Truncate {
		return resize(content, int(op.Offset))
	}
	data, at := op.Data, int(op.Offset)
	for len(data) > 0 {
		n := min(len(data), Sector-at%Sector)
		if keeps == nil || keeps() {
			if len(content) < at+n {
				content = resize(content, at+n)
			}
			copy(content[at:], data[:n])
		}
		data, at = data[n:], at+n
	}
	return content
}

func resize(content []byte, size int) []byte {
	if size <= len(content) {
		return content[:size]
	}
	return append(content, make([]byte, size-len(content))...)
}
