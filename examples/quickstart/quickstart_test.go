package main_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

var program string // built as `go run` would

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "quickstart-test-")
	if err != nil {
		log.Fatal(err)
	}
	program = filepath.Join(dir, "quickstart.exe")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		log.Fatalf("go build: %v\n%s", err, out)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func run(t *testing.T, args ...string) string {
	command := exec.CommandContext(t.Context(), program, args...)
	dir := t.TempDir()
	command.Env = append(command.Environ(), "TMPDIR="+dir, "TMP="+dir, "TEMP="+dir)
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Log(string(out))
	return string(out)
}

func TestQuickstartWithoutFlags(t *testing.T) {
	t.Parallel()
	start := time.Now()
	out := run(t)
	require.Less(t, time.Since(start), 10*time.Second)

	require.Contains(t, out, "Stored 20 events")
	require.Regexp(t, `s  pending [1-9]`, out, "progress")
	require.Contains(t, out, "pending 0, succeeded 40, given up 20")
	// 20 events: one attempt at the healthy endpoint, three at the flaky one, four at the one that is down.
	require.Contains(t, out, "verified the signatures of 160 requests and refused 0\n")
	for _, row := range []string{
		`wd_\w{26}  order\.created  healthy   succeeded  1 +204`,
		`wd_\w{26}  order\.created  flaky     succeeded  3 +200`,
		`wd_\w{26}  order\.created  down      exhausted  4 +503`,
	} {
		require.Len(t, regexp.MustCompile(row).FindAllString(out, -1), 5, row)
	}
	require.Contains(t, out, "… and 45 more")

	attempts := out[strings.Index(out, "Attempts of wd_"):]
	require.Regexp(t, `payload \{"order":20\}`, attempts)
	require.Regexp(t, `(?s)1 .*initial +failed +500 .*"database is starting".*`+
		`2 .*automatic +failed +500 .*"database is starting".*3 .*automatic +succeeded +200 `, attempts)
}

func TestQuickstartFileHoldsWhatWasPrinted(t *testing.T) {
	t.Parallel()
	db := filepath.Join(t.TempDir(), "mine.db")
	out := run(t, "-db", db, "-events", "2")
	require.Contains(t, out, "Read back from "+db)
	printed := regexp.MustCompile(`(?m)^wd_\w{26}`).FindAllString(out, -1)
	require.Len(t, printed, 6)

	store, err := sqlite.Open(db)
	require.NoError(t, err)
	defer store.Close()
	d, err := webhook.New(store, webhook.Config{})
	require.NoError(t, err)
	var stored []string
	attempts := 0
	for item, err := range d.Deliveries(t.Context(), webhook.DeliveryQuery{AllTenants: true}) {
		require.NoError(t, err)
		stored = append(stored, item.ID)
		full, err := d.GetDelivery(t.Context(), item.ID)
		require.NoError(t, err)
		attempts += len(full.Attempts)
	}
	require.Equal(t, stored, printed)
	require.Equal(t, 2*(1+3+4), attempts)
}

func TestQuickstartSendsToAReceiverOutside(t *testing.T) {
	t.Parallel()
	secret := webhook.NewSecret().Value
	var mu sync.Mutex
	got := map[string]string{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := webhook.Verify(body, r.Header, secret); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get(webhook.HeaderID)] = string(body)
	}))
	defer receiver.Close()

	out := run(t, "-url", receiver.URL+"/hooks", "-secret", secret, "-events", "7")
	require.Contains(t, out, "pending 0, succeeded 7, given up 0")
	require.NotContains(t, out, secret)
	require.Len(t, got, 7)
	var bodies []string
	for _, body := range got {
		bodies = append(bodies, body)
	}
	for n := range 7 {
		require.Contains(t, bodies, fmt.Sprintf(`{"order":%d}`, n+1))
	}
}

func TestQuickstartRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, says string }{
		{"-secret whsec_AAAA", "-secret goes with -url"},
		{"-url ftp://example.com", "Endpoint.URL"},
		{"-url http://127.0.0.1:1 -secret nonsense", "Endpoint.Secrets"},
		{"-events 0", "-events must be at least 1"},
		{"-db " + t.TempDir(), "directory"},
	} {
		out, err := exec.CommandContext(t.Context(), program, strings.Fields(test.args)...).CombinedOutput()
		require.Error(t, err, test.args)
		require.Contains(t, string(out), "quickstart: ")
		require.Contains(t, string(out), test.says)
	}
}
