//go:build cgo

package sqldb_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the other driver; package sqlite's tests have modernc's
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite/sqldb"
	"github.com/outhook/webhook/store/storetest"
)

func openMattn(t *testing.T) webhook.Store {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "app.db")+
		"?_journal_mode=WAL&_busy_timeout=10000&_synchronous=FULL&_txlock=immediate")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	st, err := sqldb.New(db)
	require.NoError(t, err)
	return st
}

func TestMattnPassesTheContract(t *testing.T) { storetest.Run(t, openMattn) }
