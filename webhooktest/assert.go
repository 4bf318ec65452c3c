package webhooktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// JSON decodes the body into v, and fails the test if it is not JSON that fits.
func (r Request) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		t.Fatalf("webhooktest: body of %v: %v\n%s", r, err, r.Body)
	}
}

// RequireJSON fails the test unless the body means the same as want, whatever the order of keys and the
// white space.
func (r Request) RequireJSON(t testing.TB, want string) {
	t.Helper()
	var expected, got any
	if err := decodeExactly([]byte(want), &expected); err != nil {
		t.Fatalf("webhooktest: what is wanted of %v is not JSON: %v\n%s", r, err, want)
	}
	if err := decodeExactly(r.Body, &got); err != nil {
		t.Fatalf("webhooktest: body of %v: %v\n%s", r, err, r.Body)
	}
	if !reflect.DeepEqual(expected, got) {
		t.Fatalf("webhooktest: body of %v\nwant %s\ngot  %s", r, want, r.Body)
	}
}

// decodeExactly keeps numbers as they are written.
func decodeExactly(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// Find waits for the first request that fits, of those that have come and those to come, and fails the
// test if there is none within Timeout. It does not count as taken by Next.
func (r *Receiver) Find(t testing.TB, fits func(Request) bool) Request {
	t.Helper()
	return r.journal.find(t, fits, r.Timeout, r.hint())
}

// Find waits for the first request that fits, as [Receiver.Find] does.
func (c *Client) Find(t testing.TB, fits func(Request) bool) Request {
	t.Helper()
	return c.journal.find(t, fits, c.timeout(), clientHint)
}

// Exactly waits until d has nothing due or under way, and fails the test unless exactly n requests have
// come since the beginning. It returns them. Retries that are due later do not count.
func (r *Receiver) Exactly(t testing.TB, d *webhook.Dispatcher, n int) []Request {
	t.Helper()
	return r.journal.exactly(t, d, n, r.Timeout, r.hint())
}

// Exactly waits until d is idle and holds the number of requests against n, as [Receiver.Exactly] does.
func (c *Client) Exactly(t testing.TB, d *webhook.Dispatcher, n int) []Request {
	t.Helper()
	return c.journal.exactly(t, d, n, c.timeout(), clientHint)
}

func (j *journal) find(t testing.TB, fits func(Request) bool, limit time.Duration, hint string) Request {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for seen := 0; ; {
		requests, arrival := j.look()
		for ; seen < len(requests); seen++ {
			if fits(requests[seen]) {
				return requests[seen]
			}
		}
		select {
		case <-arrival:
		case <-timer.C:
			t.Fatalf("webhooktest: waited %v for a request that fits, and %d that do not came%s\n%s", limit, seen, tail(requests), hint)
		}
	}
}

func (j *journal) exactly(t testing.TB, d *webhook.Dispatcher, n int, limit time.Duration, hint string) []Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := d.Idle(ctx); err != nil {
		t.Fatalf("webhooktest: the dispatcher is not idle after %v: %v\n%s", limit, err, hint)
	}
	requests := j.all()
	if len(requests) != n {
		t.Fatalf("webhooktest: want %d requests, and %d came%s\n%s", n, len(requests), tail(requests), hint)
	}
	return requests
}
