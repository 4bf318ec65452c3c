package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// start runs the service on a free port until the test ends.
func start(t *testing.T, o options) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o.addr = l.Addr().String()
	require.NoError(t, l.Close())
	o.db = filepath.Join(t.TempDir(), "service.db")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	url := "http://" + o.addr
	require.Eventually(t, func() bool {
		res, err := http.Get(url + "/webhooks/")
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	return url
}

func get(t *testing.T, url string, password ...string) (int, string) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	if len(password) > 0 {
		r.SetBasicAuth("admin", password[0])
	}
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestServiceWithTraffic(t *testing.T) {
	url := start(t, options{traffic: true})
	require.Eventually(t, func() bool {
		_, body := get(t, url+"/webhooks/webhook-deliveries?status=success&limit=1")
		return strings.Contains(body, `"responseStatus":200`)
	}, 20*time.Second, 50*time.Millisecond)
	status, body := get(t, url+"/webhooks/endpoints")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "warehouse")
	require.Contains(t, body, "Shop webhooks")
}

func TestServiceTakesOrders(t *testing.T) {
	received := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- string(body)
	}))
	t.Cleanup(receiver.Close)
	url := start(t, options{url: receiver.URL})
	res, err := http.Post(url+"/orders", "application/json", strings.NewReader(`{"customer":"acme","item":"tea"}`))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.NoError(t, res.Body.Close())
	_, body := get(t, url+"/webhooks/events?tenant=acme")
	require.Contains(t, body, "order.created")
	require.JSONEq(t, `{"number":1,"customer":"acme","item":"tea"}`, <-received)
	res, err = http.Post(url+"/orders", "application/json", strings.NewReader(`{}`))
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, res.StatusCode)
	require.NoError(t, res.Body.Close())
}

func TestServiceAsksForThePassword(t *testing.T) {
	url := start(t, options{password: "open sesame"})
	status, body := get(t, url+"/webhooks/deliveries")
	require.Equal(t, http.StatusUnauthorized, status)
	require.NotContains(t, body, "Deliveries")
	status, _ = get(t, url+"/webhooks/deliveries", "close sesame")
	require.Equal(t, http.StatusUnauthorized, status)
	status, _ = get(t, url+"/webhooks/deliveries", "open sesame")
	require.Equal(t, http.StatusOK, status)
}
