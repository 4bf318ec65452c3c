package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The first program of the README delivers, and tells what became of what could not be delivered.
func TestFirst(t *testing.T) {
	program := filepath.Join(t.TempDir(), "first.exe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))

	var status atomic.Int32
	status.Store(http.StatusOK)
	bodies := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		w.WriteHeader(int(status.Load()))
	}))
	defer receiver.Close()
	run := func() string {
		command := exec.CommandContext(t.Context(), program, receiver.URL)
		command.Dir = t.TempDir()
		out, err := command.CombinedOutput()
		require.NoError(t, err, string(out))
		require.FileExists(t, filepath.Join(command.Dir, "webhooks.db"))
		require.Equal(t, `{"order":1}`, <-bodies)
		return string(out)
	}
	require.Regexp(t, `^The receiver verifies with whsec_\S+\nwd_\w{26} succeeded after attempt 1 \n$`, run())
	status.Store(http.StatusInternalServerError)
	require.Regexp(t, `wd_\w{26} scheduled after attempt 1 BAD_RESPONSE\n$`, run())
}
