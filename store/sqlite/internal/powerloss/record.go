// Package powerloss finds out what is left of a SQLite database when the power goes. A [Recorder] logs
// what SQLite writes and syncs while a program runs; a [Disk] replays that log up to any moment and
// builds what the files may then contain: whatever was synced, and of the rest any part.
//
// Killing a process cannot show a missing sync, since the system keeps what was written. This can.
package powerloss

import (
	"bytes"
	"path/filepath"
	"sync"
)

// Op is one entry of a log.
type Op struct {
	Kind   Kind
	File   string // base name
	Offset int64  // of Write; the new size for Truncate
	Data   []byte // of Write
	Upto   int    // of Sync: ops of this file before this place in the log are safe
	Note   string // of Mark
}

// Kind is what an Op does.
type Kind uint8

const (
	Create Kind = iota
	Write
	Truncate
	Sync
	Delete
	Mark // something the program learned: whatever it was told by now must survive
)

// Recorder logs what SQLite does to the files of one directory, in order.
type Recorder struct {
	dir string
	mu  sync.Mutex
	log []Op
}

var (
	recordersMu sync.Mutex
	recorders   = map[string]*Recorder{} // by directory
)

// Record begins a log for a directory, whose databases must be opened with the VFS named [VFS].
func Record(dir string) (*Recorder, error) {
	if err := register(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := &Recorder{dir: dir}
	recordersMu.Lock()
	defer recordersMu.Unlock()
	recorders[dir] = r
	return r, nil
}

// Mark notes what the program knows at this moment.
func (r *Recorder) Mark(note string) { r.add(Op{Kind: Mark, Note: note}) }

// Stop ends the log and returns it.
func (r *Recorder) Stop() []Op {
	recordersMu.Lock()
	delete(recorders, r.dir)
	recordersMu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log
}

func (r *Recorder) add(op Op) {
	op.Data = bytes.Clone(op.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, op)
}

// now is the place in the log where the next op goes.
func (r *Recorder) now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.log)
}

func recorderFor(path string) *Recorder {
	recordersMu.Lock()
	defer recordersMu.Unlock()
	return recorders[filepath.Dir(path)]
}
