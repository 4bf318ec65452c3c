package peer

import (
	"database/sql"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // with cgo the fastest, for the peers

	"github.com/outhook/webhook/benchmarks/internal/load"
)

// OpenSQLite opens a SQLite file that survives a power failure, as ours does, for a peer. One connection: with
// more, writers wait for each other in sleeps.
func OpenSQLite(task *load.Task) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(task.Dir, "peer.db")+
		"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}
