package upgrade_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/store/sqlite"
)

func TestSQLiteOpensWhatTheFirstVersionStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	if *update {
		writeSQLite(t, path)
	}
	packed, err := gzip.NewReader(bytes.NewReader(testdata(t, "v0.1.0.db.gz")))
	require.NoError(t, err)
	file, err := io.ReadAll(packed)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, file, 0o600))
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	holds(t, st, testdata(t, "v0.1.0.db.json"))
}

func writeSQLite(t *testing.T, path string) {
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	keep(t, "v0.1.0.db.json", encode(t, fill(t, st)))
	vacuum(t, st.DB())
	require.NoError(t, st.Close())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	require.NoError(t, err)
	_, err = w.Write(file)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	keep(t, "v0.1.0.db.gz", packed.Bytes())
}
