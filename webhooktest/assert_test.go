package webhooktest_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// failures runs what is to fail a test and returns what it said.
func failures(t *testing.T, do func(t testing.TB)) []string {
	watched := &spy{TB: t}
	var wg sync.WaitGroup
	wg.Go(func() { do(watched) })
	wg.Wait()
	return watched.failures()
}

func TestRequestJSON(t *testing.T) {
	r := webhooktest.Request{ID: "evt_1", Body: []byte(`{"b":[1, 2],"a":12345678901234567890}`)}
	r.RequireJSON(t, ` {"a":12345678901234567890,"b":[1,2]}`)
	var v struct{ B []int }
	r.JSON(t, &v)
	require.Equal(t, []int{1, 2}, v.B)

	for want, part := range map[string]string{
		`{"a":12345678901234567891,"b":[1,2]}`: "want",
		`{"b":[1,2]}`:                          "got",
		`nonsense`:                             "is not JSON",
		`{} {}`:                                "follows",
	} {
		said := failures(t, func(t testing.TB) { r.RequireJSON(t, want) })
		require.Len(t, said, 1, want)
		require.Contains(t, said[0], part)
		require.Contains(t, said[0], "evt_1")
	}
	r.Body = []byte("{")
	require.Len(t, failures(t, func(t testing.TB) { r.JSON(t, &v) }), 1)
	require.Len(t, failures(t, func(t testing.TB) { r.RequireJSON(t, "{}") }), 1)
}

func TestFindAndExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &webhooktest.Client{Timeout: time.Second}
		d := webhooktest.New(t, webhook.Config{HTTPClient: c}, webhook.Endpoint{URL: "https://a.example/"})
		c.Exactly(t, d, 0)
		for n := range 3 {
			placeOrder(d, n)
		}
		second := c.Find(t, func(r webhooktest.Request) bool { return string(r.Body) == `{"order":1}` })
		require.Equal(t, 1, second.Attempt)
		require.Len(t, c.Exactly(t, d, 3), 3)
		require.NotEmpty(t, c.Next(t).ID, "Find took none")

		said := failures(t, func(t testing.TB) { c.Find(t, func(webhooktest.Request) bool { return false }) })
		require.Contains(t, said[0], "3 that do not came")
		said = failures(t, func(t testing.TB) { c.Exactly(t, d, 2) })
		require.Contains(t, said[0], "want 2 requests, and 3 came")

		c.Answer(webhooktest.Answer{Hang: true})
		placeOrder(d, 9)
		said = failures(t, func(t testing.TB) { c.Exactly(t, d, 4) })
		require.Contains(t, said[0], "not idle")
		c.Release()
		c.Exactly(t, d, 4)
	})
}

func TestNewRefusesABadEndpoint(t *testing.T) {
	said := failures(t, func(t testing.TB) { webhooktest.New(t, webhook.Config{}, webhook.Endpoint{URL: "ftp://a.example/"}) })
	require.Contains(t, said[0], "Endpoint.URL")
}
