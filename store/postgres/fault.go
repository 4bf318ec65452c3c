package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outhook/webhook"
)

// SQLSTATEs that the package acts on.
const (
	codeUnique        = "23505"
	codeDivision      = "22012" // what a statement makes of rows that it did not find
	codeText          = "22P02" // what expectGeneration makes of another generation
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeLockTimeout   = "55P03"
	codeBadEncoding   = "22021" // a zero byte, or no UTF-8
	codeNoText        = "22P05"
	codeTooLarge      = "54000" // an index row, or the like
	codeFull          = "53100"
	codeReadOnly      = "25006"
	codePrivilege     = "42501"
	codeNoStatement   = "26000"
	codeHasStatement  = "42P05"
)

// advice is what a program can do about some faults.
var advice = map[string]string{
	codeFull:      "the server's disk is full; free some space, nothing acknowledged was lost",
	codeReadOnly:  "the server takes no writes; connect to the primary (target_session_attrs=read-write)",
	codePrivilege: "the role lacks a right; let it own the schema, or grant it all on the schema's tables",
	codeNoStatement: "a pooler lost a prepared statement; use default_query_exec_mode=exec or cache_describe " +
		"in the connection string",
	codeHasStatement: "a pooler mixed up prepared statements; use default_query_exec_mode=exec or cache_describe " +
		"in the connection string",
}

// sqlState is the server's code for an error, "" if it is not the server's. Every driver of PostgreSQL
// offers it.
func sqlState(err error) string {
	var coded interface{ SQLState() string }
	if errors.As(err, &coded) {
		return coded.SQLState()
	}
	return ""
}

func isCode(err error, codes ...string) bool {
	return err != nil && slices.Contains(codes, sqlState(err))
}

// ours reports whether err was made by this library or its caller, and not by the driver.
func ours(err error) bool {
	var field *webhook.FieldError
	var item *webhook.ItemError
	for _, own := range []error{webhook.ErrNotFound, webhook.ErrConflict, webhook.ErrClosed, errAgain} {
		if errors.Is(err, own) {
			return true
		}
	}
	return errors.As(err, &field) || errors.As(err, &item) || strings.HasPrefix(err.Error(), "postgres: ")
}

// explain wraps an error of the driver once, saying what to do.
func explain(ctx context.Context, err error) error {
	if err == nil || ours(err) {
		return err
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("postgres: %w: %w", ended, err)
	}
	state := sqlState(err)
	switch {
	case state == codeBadEncoding || state == codeNoText:
		return &webhook.ItemError{Err: fmt.Errorf("postgres: text that PostgreSQL cannot keep: %w", err)}
	case state == codeTooLarge:
		return &webhook.ItemError{Err: fmt.Errorf("postgres: too long for PostgreSQL: %w", err)}
	case advice[state] != "":
		return fmt.Errorf("postgres: %s: %w", advice[state], err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Where != "" {
		return fmt.Errorf("postgres: %w (%s)", err, pg.Where)
	}
	return fmt.Errorf("postgres: %w", err)
}

func digest(parts ...string) []byte {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return h.Sum(nil)
}
