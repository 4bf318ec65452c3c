package sqldb

import (
	"context"
	"errors"
	"os"
)

const (
	// walSize is what the WAL is grown to in one go, in bytes. Commits then overwrite it, which a disk does
	// faster than extending a file. It is written from its beginning again when all of it stands in the
	// database file.
	walSize = 16 << 20
	// walRest is how many pages may be left to be moved while the next commit waits, so that there is a
	// moment without any, and the WAL begins anew.
	walRest = 256
	// walMost is from how many pages on a commit moves them itself: Maintain is not called, or too slow.
	walMost = 8192
	// walKept is what a longer WAL is cut to, in bytes.
	walKept = 64 << 20
)

// growWAL makes the WAL as long as it is going to be. If that cannot be, all goes on as before.
func (p *pinned) growWAL(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() >= walSize {
		return nil
	}
	// The write lock keeps others from appending meanwhile.
	return p.write(ctx, powerLoss, func(conn) error {
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_ = errors.Join(appendZeros(f, walSize), f.Close())
		}
		return nil
	})
}

// appendZeros fills a file up to a size, or leaves it as it is. SQLite reads zeros as the WAL's end.
func appendZeros(f *os.File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, 1<<20)
	for at := info.Size(); at < size && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
	}
	if err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return f.Sync()
}

// checkpoint moves pages from the WAL to the database file. A connection of the readers does nearly all of
// it, so that no commit waits.
func (p *pinned) checkpoint(ctx context.Context) error {
	left := int64(0)
	err := p.borrow(ctx, func(c conn) (_ bool, err error) {
		for range 3 { // what is committed meanwhile is left
			if left, err = passive(ctx, c); err != nil || left <= walRest {
				break
			}
		}
		return false, err
	})
	if err != nil || left > walRest {
		return err
	}
	return p.outside(ctx, func(c conn) error { // while nobody commits, so that nothing is left
		_, err := passive(ctx, c)
		return err
	})
}

// passive moves what readers under way allow, and returns how many pages are left.
func passive(ctx context.Context, c conn) (left int64, err error) {
	err = c.query(context.WithoutCancel(ctx), `PRAGMA wal_checkpoint(PASSIVE)`, nil, func(r row) error {
		left = r.int(1) - r.int(2)
		return nil
	})
	return left, err
}
