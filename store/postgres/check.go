package postgres

import (
	"context"
	"fmt"

	"github.com/outhook/webhook"
)

// Check says what is wrong with the server's settings, for Dispatcher.Check. Its codes: postgres_version,
// postgres_fsync, postgres_full_page_writes, postgres_autovacuum, postgres_pool_size.
func (s *Store) Check(ctx context.Context) (warnings []webhook.Warning, err error) {
	warn := func(code, format string, args ...any) {
		warnings = append(warnings, webhook.Warning{Code: code, Message: fmt.Sprintf(format, args...)})
	}
	var version int64
	var fsync, fullPages, autovacuum string
	err = s.read(ctx, func(q *session) error {
		_, err := q.one(`SELECT current_setting('server_version_num')::bigint, current_setting('fsync'),
			current_setting('full_page_writes'), current_setting('autovacuum')`, nil, &version, &fsync, &fullPages, &autovacuum)
		return err
	})
	if err != nil {
		return nil, err
	}
	if version < 130000 {
		warn("postgres_version", "PostgreSQL %d is older than 13; upgrade the server", version/10000)
	}
	if fsync == "off" {
		warn("postgres_fsync", "fsync is off: when the server's machine loses power, what Send acknowledged is lost and the "+
			"database may be damaged; set fsync = on")
	}
	if fullPages == "off" {
		warn("postgres_full_page_writes", "full_page_writes is off: a power failure may damage the database; set it on, "+
			"unless the file system writes pages atomically")
	}
	if autovacuum == "off" {
		warn("postgres_autovacuum", "autovacuum is off: the tables of the queue grow and every claim gets slower; set autovacuum = on")
	}
	if s.pool.Config().MaxConns < 2 {
		warn("postgres_pool_size", "the pool has one connection: a transaction of yours that stays open holds up all else in this process; give it two or more")
	}
	return warnings, nil
}
