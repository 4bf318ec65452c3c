package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// checkIntegrity runs SQLite's own check. Of a file that nobody has open it checks a copy, so that the
// next process finds what the last one left and recovers it by itself.
func (r *round) checkIntegrity() error {
	if r.o.Postgres {
		return nil // the server looks after its files
	}
	path := r.path
	if r.o.Procs == 1 && !r.o.Busy {
		dir, err := os.MkdirTemp("", "torture-check-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "copy.db")
		for _, suffix := range []string{"", "-wal"} {
			if err := copyFile(path+suffix, r.path+suffix); err != nil {
				return err
			}
		}
	}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String()+"?_pragma=busy_timeout(20000)")
	if err != nil {
		return err
	}
	defer db.Close()
	var answer string
	if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&answer); err != nil {
		return fmt.Errorf("integrity_check: %w", err)
	}
	if answer != "ok" {
		return fmt.Errorf("integrity_check: %s", answer)
	}
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	r.book.integrity++
	return nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
