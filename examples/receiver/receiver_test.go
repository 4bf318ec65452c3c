package main

import (
	"bufio"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func numbers(t *testing.T, db *sql.DB) (found []int) {
	rows, err := db.Query(`SELECT number FROM orders ORDER BY number`)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var n int
		require.NoError(t, rows.Scan(&n))
		found = append(found, n)
	}
	require.NoError(t, rows.Err())
	return found
}

func send(t *testing.T, d *webhook.Dispatcher, payload string) webhook.Receipt {
	receipt, err := d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte(payload)})
	require.NoError(t, err)
	return receipt
}

// An event whose answer was lost comes again and is done once.
func TestEachEventIsDoneOnce(t *testing.T) {
	db, err := open(filepath.Join(t.TempDir(), "orders.db"))
	require.NoError(t, err)
	defer db.Close()
	secret := webhook.NewSecret()
	verify := webhook.Verifier{Secrets: []string{secret.Value}}
	var requests atomic.Int32
	lossy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			verify.Middleware(orders{db}).ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler) // it was done, and the answer does not arrive
		}
		verify.Middleware(orders{db}).ServeHTTP(w, r)
	})
	server := httptest.NewServer(lossy)
	defer server.Close()
	d := webhooktest.New(t, webhook.Config{Retry: webhook.Schedule(time.Millisecond, time.Millisecond)},
		webhook.Endpoint{URL: server.URL, Secrets: []webhook.Secret{secret}, AllowPrivate: webhook.Loopback})

	first := send(t, d, `{"order":1}`)
	settle(t, d, first)
	require.EqualValues(t, 2, requests.Load())
	require.Equal(t, []int{1}, numbers(t, db))

	settle(t, d, send(t, d, `{"order":2}`))
	require.NoError(t, d.Retry(t.Context(), first.DeliveryIDs[0])) // by hand
	settle(t, d, first)
	require.Equal(t, []int{1, 2}, numbers(t, db))

	rejected := send(t, d, `"no order"`)
	for !settled(t, d, rejected).State.Final() {
		require.NoError(t, d.Idle(t.Context()))
	}
	require.Equal(t, http.StatusBadRequest, *settled(t, d, rejected).LastAttempt.ResponseStatus)
}

func settled(t *testing.T, d *webhook.Dispatcher, r webhook.Receipt) webhook.Delivery {
	delivery, err := d.GetDelivery(t.Context(), r.DeliveryIDs[0])
	require.NoError(t, err)
	return delivery
}

// settle waits until a delivery has succeeded and nothing of it is under way.
func settle(t *testing.T, d *webhook.Dispatcher, r webhook.Receipt) {
	for {
		require.NoError(t, d.Idle(t.Context()))
		if settled(t, d, r).State == webhook.StateSucceeded {
			return
		}
	}
}

// The program itself, as its comment says to run it.
func TestProgram(t *testing.T) {
	program := filepath.Join(t.TempDir(), "receiver.exe")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	path := filepath.Join(t.TempDir(), "orders.db")

	out, err = exec.Command(program, "-db", path).CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "without a secret it must not start")
	require.Contains(t, string(out), "Verifier.Secrets")

	secret := webhook.NewSecret()
	command := exec.Command(program, "-listen", "127.0.0.1:0", "-db", path)
	command.Env = append(command.Environ(), "WEBHOOK_SECRET="+secret.Value)
	said, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	defer func() { _ = command.Wait() }()
	defer func() { _ = command.Process.Kill() }()
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	url := regexp.MustCompile(`http://\S+`).FindString(line)
	require.NotEmpty(t, url, line)

	d := webhooktest.New(t, webhook.Config{}, webhook.Endpoint{URL: url, Secrets: []webhook.Secret{secret}, AllowPrivate: webhook.Loopback})
	settle(t, d, send(t, d, `{"order":7}`))
	answer, err := http.Post(url, "application/json", strings.NewReader(`{"order":8}`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusBadRequest, answer.StatusCode, "unsigned")
	db, err := open(path)
	require.NoError(t, err)
	defer db.Close()
	require.Equal(t, []int{7}, numbers(t, db))
}
