package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/outhook/webhook/internal/id"
)

// owners proves who lives by locks on files beside the database: "webhooks.db-owner-…", one for each
// process that has it open. The system drops a lock when its process ends, however it ends. The database
// file itself is never locked that way: closing any handle on it would drop SQLite's own locks.
type owners struct {
	prefix string // of the files
	name   string
	lock   *flock.Flock

	mu     sync.Mutex
	graves map[string]*flock.Flock // locks of dead owners that we took; guarded by mu
}

const ownerInfix = "-owner-"

func newOwners(database string) (*owners, error) {
	o := &owners{prefix: database + ownerInfix, graves: map[string]*flock.Flock{}}
	var g id.Generator
	for range 10 {
		o.name = g.New("", time.Now())
		o.lock = flock.New(o.prefix+o.name, flock.SetPermissions(0o600))
		locked, err := o.lock.TryLock()
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", o.prefix+o.name, err)
		}
		// Another process may just have taken the file for one of the dead, and removed it.
		if _, err := os.Stat(o.prefix + o.name); locked && err == nil {
			return o, nil
		}
		_ = o.lock.Close()
	}
	return nil, fmt.Errorf("cannot keep a lock file beside %s; is something removing files there?", database)
}

func (o *owners) Name() string { return o.name }

// Dead tries the lock of every other owner.
func (o *owners) Dead() ([]string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	dir, base := filepath.Split(o.prefix)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, entry := range entries {
		name, ok := strings.CutPrefix(entry.Name(), base)
		if !ok || name == o.name || !id.Valid("", name) {
			continue
		}
		if o.graves[name] != nil || o.bury(name) {
			dead = append(dead, name)
		}
	}
	return dead, nil
}

// bury takes the lock of an owner who does not hold it any more.
func (o *owners) bury(name string) bool {
	lock := flock.New(o.prefix+name, flock.SetFlag(os.O_RDWR))
	if locked, err := lock.TryLock(); err != nil || !locked {
		_ = lock.Close()
		return false
	}
	o.graves[name] = lock
	return true
}

func (o *owners) Buried(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	lock := o.graves[name]
	if lock == nil {
		return nil
	}
	delete(o.graves, name)
	// Removed before it is unlocked, so that nobody else finds it free; where open files cannot be
	// removed, after.
	err := os.Remove(o.prefix + name)
	closed := lock.Close()
	if err != nil {
		err = os.Remove(o.prefix + name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, closed)
}

// Close gives up the name. Leases left in it become free to the others at once.
func (o *owners) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var err error
	for name, lock := range o.graves {
		delete(o.graves, name)
		err = errors.Join(err, lock.Close())
	}
	return errors.Join(err, o.lock.Close())
}
