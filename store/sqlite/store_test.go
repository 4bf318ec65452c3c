package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/store/storetest"
)

func TestOpenedStore(t *testing.T)      { storetest.Run(t, opened) }
func TestOpenedStoreModel(t *testing.T) { storetest.RunModel(t, openedInRAM) }

// A user's database whose pool has one connection: the narrowest there is.
func TestStoreInUsersDatabase(t *testing.T)      { storetest.Run(t, inUsersDatabase) }
func TestStoreInUsersDatabaseModel(t *testing.T) { storetest.RunModel(t, inUsersDatabase) }

func opened(t *testing.T) webhook.Store { return open(t, filepath.Join(t.TempDir(), "webhooks.db")) }

func openedInRAM(t *testing.T) webhook.Store { return open(t, filepath.Join(inRAM(t), "webhooks.db")) }

// inRAM is a directory for tests that open hundreds of stores and do not ask what a disk does: half of their time would
// be its syncs.
func inRAM(t *testing.T) string {
	if !roomInRAM() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "outhook-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func open(t *testing.T, path string) *sqlite.Store {
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func inUsersDatabase(t *testing.T) webhook.Store {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "app.db")+"?_pragma=journal_mode(WAL)")
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	st, err := sqlite.New(db)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, st.Close())
		require.NoError(t, db.Close())
	})
	return st
}

func TestFaults(t *testing.T) {
	if underRace {
		t.Skip("SKIPPED under the race detector, where it takes minutes; package memory runs it there")
	}
	t.Parallel()
	storetest.RunFaults(t, openedInRAM)
}
