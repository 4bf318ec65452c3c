package webhooktest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

func signed(t testing.TB, ctx context.Context, url, id, secret, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	now := time.Now()
	signature, err := webhook.Sign(secret, id, now, []byte(body))
	require.NoError(t, err)
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", signature)
	return r
}

// post sends a signed request and returns status and body.
func post(t testing.TB, url, id, secret, body string) (int, string) {
	t.Helper()
	status, text, err := tryPost(t, t.Context(), url, id, secret, body)
	require.NoError(t, err)
	return status, text
}

func tryPost(t testing.TB, ctx context.Context, url, id, secret, body string) (int, string, error) {
	t.Helper()
	response, err := http.DefaultClient.Do(signed(t, ctx, url, id, secret, body))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

func TestReceiverAnswersAsScripted(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	r.Script(500, 410)
	r.Answer(webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: "slow down"})
	for i, want := range []int{500, 410, 429, 200, 200} {
		status, body := post(t, r.URL+"/hooks?a=b", "evt_1", r.Secret, `{"n":1}`)
		require.Equal(t, want, status)
		require.Equal(t, want == 429, body == "slow down")

		got := r.Next(t)
		require.Equal(t, "evt_1", got.ID)
		require.Equal(t, i+1, got.Attempt)
		require.Equal(t, r.URL+"/hooks?a=b", got.URL)
		require.Equal(t, `{"n":1}`, string(got.Body))
		require.Equal(t, http.MethodPost, got.Method)
		require.Equal(t, "evt_1", got.Header.Get("webhook-id"))
		require.WithinDuration(t, time.Now(), got.At, time.Minute)
		require.NoError(t, got.Err)
	}
	require.Equal(t, 5, r.Count())
	require.Len(t, r.Requests(), 5)

	r.Respond(func(request webhooktest.Request) webhooktest.Answer {
		return webhooktest.Answer{Status: 202, Body: request.ID}
	})
	r.Script(503)
	status, _ := post(t, r.URL, "evt_2", r.Secret, "")
	require.Equal(t, 503, status, "the script goes first")
	status, body := post(t, r.URL, "evt_2", r.Secret, "")
	require.Equal(t, 202, status)
	require.Equal(t, "evt_2", body)
	require.Equal(t, 1, r.Wait(t, 6)[5].Attempt)
}

func TestReceiverHangs(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	r.Answer(webhooktest.Answer{Hang: true, Status: 201}, webhooktest.Answer{Hang: true}, webhooktest.Answer{Hang: true})

	answered := make(chan int)
	go func() {
		status, _, _ := tryPost(t, t.Context(), r.URL, "evt_1", r.Secret, "")
		answered <- status
	}()
	r.Next(t)
	r.Release()
	require.Equal(t, 201, <-answered)

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		r.Next(t)
		cancel()
	}()
	_, _, err := tryPost(t, ctx, r.URL, "evt_2", r.Secret, "")
	require.ErrorIs(t, err, context.Canceled)

	go func() { _, _, _ = tryPost(t, context.Background(), r.URL, "evt_3", r.Secret, "") }()
	r.Next(t) // the third hangs still when the test ends
}

func TestReceiverResetsAndDribbles(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	r.Answer(
		webhooktest.Answer{Reset: true},
		webhooktest.Answer{Status: 200, Body: "half", Reset: true},
		webhooktest.Answer{Body: "slow", BodyDelay: 5 * time.Millisecond, Delay: 5 * time.Millisecond},
		webhooktest.Answer{Body: strings.Repeat("endless", 1000), BodyDelay: time.Hour},
	)
	_, _, err := tryPost(t, t.Context(), r.URL, "evt_1", r.Secret, "")
	require.ErrorIs(t, err, syscall.ECONNRESET)

	status, body, err := tryPost(t, t.Context(), r.URL, "evt_1", r.Secret, "")
	require.Equal(t, 200, status)
	require.Error(t, err)
	require.True(t, strings.HasPrefix("half", body), "%q", body) // a reset may overtake what was sent

	started := time.Now()
	status, body = post(t, r.URL, "evt_1", r.Secret, "")
	require.Equal(t, 200, status)
	require.Equal(t, "slow", body)
	require.GreaterOrEqual(t, time.Since(started), 25*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err = tryPost(t, ctx, r.URL, "evt_1", r.Secret, "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 4, r.Count())
}

// spy is a testing.TB that keeps what would fail the test.
type spy struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (s *spy) Helper() {}

func (s *spy) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, fmt.Sprintf(format, args...))
}

func (s *spy) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

func (s *spy) failures() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func TestReceiverFailsTheTestOnABadSignature(t *testing.T) {
	watched := &spy{TB: t}
	r := webhooktest.NewReceiver(watched)
	r.Script(500)
	other := webhook.NewSecret().Value

	status, _ := post(t, r.URL, "evt_1", other, "{}")
	require.Equal(t, 401, status)
	require.Len(t, watched.failures(), 1)
	require.Contains(t, watched.failures()[0], "no signature matches")
	require.ErrorIs(t, r.Next(t).Err, webhook.ErrSignatureMismatch)

	status, _ = post(t, r.URL, "evt_1", r.Secret, "{}")
	require.Equal(t, 500, status, "a refused request takes no answer from the script")

	r.AllowBadSignatures()
	status, _ = post(t, r.URL, "evt_1", other, "{}")
	require.Equal(t, 401, status)

	r.Trust(other, r.Secret)
	for _, secret := range []string{other, r.Secret} {
		status, _ = post(t, r.URL, "evt_1", secret, "{}")
		require.Equal(t, 200, status)
	}

	r.VerifyWith(func(body []byte, h http.Header) error {
		if h.Get("X-Mine") == "" {
			return errors.New("not mine")
		}
		return nil
	})
	status, body := post(t, r.URL, "evt_1", r.Secret, "{}")
	require.Equal(t, 401, status)
	require.Contains(t, body, "not mine")

	r.VerifyWith(nil)
	response, err := http.Post(r.URL, "text/plain", strings.NewReader("anything"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	require.Len(t, watched.failures(), 1)
}

func TestReceiverSaysWhatItWaitedFor(t *testing.T) {
	watched := &spy{TB: t}
	r := webhooktest.NewReceiver(t)
	r.Timeout = 10 * time.Millisecond
	post(t, r.URL, "evt_1", r.Secret, "{}")

	var wg sync.WaitGroup
	wg.Go(func() { r.Wait(watched, 2) })
	wg.Wait()
	require.Len(t, watched.failures(), 1)
	for _, part := range []string{"request 2", "1 came", "POST " + r.URL + "/ evt_1 #1", "AllowPrivate"} {
		require.Contains(t, watched.failures()[0], part)
	}
}

func TestReceiverNextIsForEachRequestOnce(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	const n = 50
	for i := range n {
		wg.Go(func() { post(t, r.URL, "evt_"+strconv.Itoa(i), r.Secret, "{}") })
		wg.Go(func() {
			request := r.Next(t)
			mu.Lock()
			defer mu.Unlock()
			seen[request.ID]++
		})
	}
	wg.Wait()
	require.Len(t, seen, n)
	require.Len(t, r.Wait(t, n), n)
}

func TestReceiverEndpoint(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	e := r.Endpoint()
	require.Equal(t, r.URL, e.URL)
	require.Equal(t, []webhook.Secret{{Value: r.Secret}}, e.Secrets)
	require.Equal(t, webhook.Loopback, e.AllowPrivate)
}

func TestReceiverIgnoresABrokenRequest(t *testing.T) {
	r := webhooktest.NewReceiver(t)
	request, err := http.NewRequest(http.MethodPost, r.URL, io.MultiReader(bytes.NewReader(make([]byte, 1000)), broken{}))
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(request)
	require.Error(t, err)
	require.Zero(t, r.Count())
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
