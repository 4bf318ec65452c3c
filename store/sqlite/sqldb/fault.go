package sqldb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/outhook/webhook"
)

// Primary result codes of SQLite.
const (
	codeBusy     = 5
	codeLocked   = 6
	codeReadOnly = 8
	codeIOErr    = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeTooBig   = 18
	codeNotADB   = 26
)

// codeShmSize is SQLITE_IOERR_SHMSIZE: the -shm file cannot grow, which is a full disk too.
const codeShmSize = 10 | 19<<8

// faults are the errors a program can do something about. The texts are SQLite's own, for drivers
// whose errors have no Code method.
var faults = []struct {
	code   int
	text   string
	advice string
}{
	{codeBusy, "database is locked", "another connection held the write lock too long; keep your own write transactions short"},
	{codeLocked, "table is locked", "a statement of the same connection is still running; close your rows first"},
	{codeReadOnly, "attempt to write a readonly database", "the database is read-only; make the file and its directory writable for this process"},
	{codeIOErr, "disk I/O error", "the disk failed; look at the system's log before going on"},
	{codeCorrupt, "database disk image is malformed", "the database is damaged; stop, and restore a backup"},
	{codeFull, "database or disk is full", "the disk is full; free some space, nothing acknowledged was lost"},
	{codeCantOpen, "unable to open database file", "the file cannot be opened; see that its directory exists and is accessible"},
	{codeNotADB, "file is not a database", "the file is not a SQLite database; give another path"},
}

// code returns SQLite's primary result code, 0 if it is unknown.
func code(err error) int {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		if coded.Code() == codeShmSize {
			return codeFull
		}
		return coded.Code() & 0xff
	}
	text := err.Error()
	for _, f := range faults {
		if strings.Contains(text, f.text) {
			return f.code
		}
	}
	if strings.Contains(text, "string or blob too big") {
		return codeTooBig
	}
	return 0
}

// ours reports whether err was made by this library or its caller, and not by SQLite.
func ours(err error) bool {
	var field *webhook.FieldError
	var item *webhook.ItemError
	for _, own := range []error{
		webhook.ErrNotFound, webhook.ErrConflict, webhook.ErrClosed, errAgain,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, own) {
			return true
		}
	}
	return errors.As(err, &field) || errors.As(err, &item)
}

// explain wraps an error of the driver once, saying what to do.
func explain(err error) error {
	if err == nil || ours(err) {
		return err
	}
	c := code(err)
	if c == codeTooBig {
		return &webhook.ItemError{Err: fmt.Errorf("sqlite: too long for SQLite: %w", err)}
	}
	for _, f := range faults {
		if f.code == c {
			return fmt.Errorf("sqlite: %s: %w", f.advice, err)
		}
	}
	return fmt.Errorf("sqlite: %w", err)
}
