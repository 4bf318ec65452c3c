package webhooktest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

var _ webhook.HTTPClient = (*webhooktest.Client)(nil)

func do(t *testing.T, ctx context.Context, c *webhooktest.Client, url, id string) (int, string, error) {
	t.Helper()
	response, err := c.Do(signed(t, ctx, url, id, fakeSecret, "{}"))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

var fakeSecret = webhook.NewSecret().Value

func TestClientAnswersAsScripted(t *testing.T) {
	var c webhooktest.Client
	status, _, err := do(t, t.Context(), &c, "https://a.example/x", "evt_1")
	require.NoError(t, err)
	require.Equal(t, 200, status)

	c.Script(500, 410)
	c.On("https://b.example").Script(503)
	c.On("https://b.example/deep").Answer(webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"7"}}, Body: "slow down"})
	c.On("https://b.example").Respond(func(r webhooktest.Request) webhooktest.Answer {
		return webhooktest.Answer{Status: 202, Body: r.ID}
	})
	for _, step := range []struct {
		url    string
		status int
		body   string
	}{
		{"https://a.example/x", 500, ""}, {"https://b.example/x", 503, ""}, {"https://b.example/deep/er", 429, "slow down"},
		{"https://a.example/y", 410, ""}, {"https://a.example/x", 200, ""}, {"https://b.example/x", 202, "evt_2"},
		{"https://b.example/deep/er", 200, ""},
	} {
		status, body, err := do(t, t.Context(), &c, step.url, "evt_2")
		require.NoError(t, err)
		require.Equal(t, step.status, status, step.url)
		require.Equal(t, step.body, body)
	}
	requests := c.Wait(t, 8)
	require.Len(t, requests, 8)
	require.Equal(t, 8, c.Count())
	require.Equal(t, requests[0].ID, c.Next(t).ID)
	require.Equal(t, "https://a.example/x", c.Next(t).URL)
	require.Equal(t, []int{1, 1, 1, 1, 1, 2, 2, 2}, attempts(c.Requests()))
	require.Equal(t, "{}", string(requests[7].Body))
}

func attempts(requests []webhooktest.Request) (numbers []int) {
	for _, r := range requests {
		numbers = append(numbers, r.Attempt)
	}
	return numbers
}

func TestClientVerifies(t *testing.T) {
	c := webhooktest.Client{Secrets: []string{webhook.NewSecret().Value}}
	c.Script(500)
	status, body, err := do(t, t.Context(), &c, "https://a.example/", "evt_1")
	require.NoError(t, err)
	require.Equal(t, 401, status)
	require.Contains(t, body, "no signature matches")
	require.ErrorIs(t, c.Next(t).Err, webhook.ErrSignatureMismatch)

	c = webhooktest.Client{Secrets: []string{fakeSecret}}
	c.Script(500)
	status, _, err = do(t, t.Context(), &c, "https://a.example/", "evt_1")
	require.NoError(t, err)
	require.Equal(t, 500, status)
	require.NoError(t, c.Next(t).Err)
}

func TestClientErrors(t *testing.T) {
	var c webhooktest.Client
	mine := errors.New("mine")
	c.Answer(webhooktest.Answer{Err: mine}, webhooktest.Answer{Err: webhooktest.ErrTimeout}, webhooktest.Answer{Reset: true},
		webhooktest.Answer{Status: 201, Body: "half", Reset: true})

	_, _, err := do(t, t.Context(), &c, "https://u:p@a.example/", "evt_1")
	require.ErrorIs(t, err, mine)
	var wrapped *url.Error
	require.ErrorAs(t, err, &wrapped)
	require.Equal(t, "Post", wrapped.Op)
	require.NotContains(t, wrapped.URL, "u:p")

	_, _, err = do(t, t.Context(), &c, "https://a.example/", "evt_1")
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())

	_, _, err = do(t, t.Context(), &c, "https://a.example/", "evt_1")
	require.ErrorIs(t, err, syscall.ECONNRESET)

	status, body, err := do(t, t.Context(), &c, "https://a.example/", "evt_1")
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Equal(t, 201, status)
	require.Equal(t, "half", body)

	_, _, err = do(t, t.Context(), &c, "/nowhere", "evt_1")
	require.Error(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(mine)
	_, _, err = do(t, ctx, &c, "https://a.example/", "evt_1")
	require.ErrorIs(t, err, mine)
	require.Equal(t, 4, c.Count(), "what never left is not on record")
}

func TestClientByTheBubblesClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := webhooktest.Client{Secrets: []string{fakeSecret}} // verifies by the clock of the bubble
		c.Answer(
			webhooktest.Answer{Delay: time.Hour, Body: "ab", BodyDelay: time.Minute},
			webhooktest.Answer{Delay: time.Hour},
			webhooktest.Answer{Body: "never read", BodyDelay: time.Hour},
			webhooktest.Answer{Hang: true},
			webhooktest.Answer{Hang: true},
		)
		started := time.Now()
		status, body, err := do(t, t.Context(), &c, "https://a.example/", "evt_1")
		require.NoError(t, err)
		require.Equal(t, 200, status)
		require.Equal(t, "ab", body)
		require.Equal(t, time.Hour+2*time.Minute, time.Since(started))

		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			started = time.Now()
			_, _, err = do(t, ctx, &c, "https://a.example/", "evt_1")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 15*time.Second, time.Since(started))
			cancel()
		}

		var wg sync.WaitGroup
		wg.Go(func() {
			if status, _, err := do(t, t.Context(), &c, "https://a.example/", "evt_2"); status != 200 || err != nil {
				t.Errorf("got %d, %v", status, err)
			}
		})
		for c.Next(t).ID != "evt_2" {
		}
		c.Release()
		wg.Wait()
	})
}

func TestClientWaitPassesTimeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c webhooktest.Client
		go func() {
			for range 3 {
				time.Sleep(24 * time.Hour)
				_, _, _ = do(t, context.Background(), &c, "https://a.example/", "evt_1")
			}
		}()
		requests := c.Wait(t, 3)
		require.Equal(t, 48*time.Hour, requests[2].At.Sub(requests[0].At))

		watched := &spy{TB: t}
		var wg sync.WaitGroup
		wg.Go(func() { c.Wait(watched, 4) })
		wg.Wait()
		require.Contains(t, watched.failures()[0], "336h0m0s for request 4, and 3 came")
	})
}

func TestClientTraces(t *testing.T) {
	var c webhooktest.Client
	var steps []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		WroteRequest:         func(httptrace.WroteRequestInfo) { steps = append(steps, "wrote") },
		GotFirstResponseByte: func() { steps = append(steps, "answered") },
	})
	c.Answer(webhooktest.Answer{Reset: true})
	_, _, err := do(t, ctx, &c, "https://a.example/", "evt_1")
	require.Error(t, err)
	_, _, err = do(t, ctx, &c, "https://a.example/", "evt_1")
	require.NoError(t, err)
	require.Equal(t, []string{"wrote", "wrote", "answered"}, steps)
}
