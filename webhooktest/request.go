package webhooktest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// Request is a request as it arrived.
type Request struct {
	ID      string // webhook-id: the event's ID, the same on every attempt
	Attempt int    // the how manieth with this ID at this URL, from 1
	Method  string
	URL     string // whole
	Header  http.Header
	Body    []byte
	At      time.Time
	// Err says why the signature was refused; nil if it was right, or not looked at.
	Err error
}

// String is the request in one line, for messages.
func (r Request) String() string {
	return fmt.Sprintf("%s %s %s #%d", r.Method, r.URL, r.ID, r.Attempt)
}

// verification says what becomes of a signature.
type verification struct {
	mu       sync.Mutex
	check    func(body []byte, h http.Header) error // guarded by mu; nil: anything goes
	tolerant bool                                   // guarded by mu: a bad one does not fail the test
}

func (v *verification) set(check func(body []byte, h http.Header) error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.check = check
}

func (v *verification) tolerate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tolerant = true
}

func (v *verification) verify(r Request) (err error, tolerant bool) {
	v.mu.Lock()
	check, tolerant := v.check, v.tolerant
	v.mu.Unlock()
	if check == nil {
		return nil, tolerant
	}
	return check(r.Body, r.Header), tolerant
}

func standard(secrets []string) func(body []byte, h http.Header) error {
	return webhook.Verifier{Secrets: slices.Clone(secrets)}.Verify
}

// journal keeps requests in the order of their arrival.
type journal struct {
	mu       sync.Mutex
	requests []Request      // guarded by mu
	attempts map[string]int // guarded by mu, by URL and ID
	taken    int            // guarded by mu; how many Next has asked for
	arrived  gate
}

// add gives the request its Attempt.
func (j *journal) add(r Request) Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.attempts == nil {
		j.attempts = make(map[string]int)
	}
	key := r.URL + " " + r.ID
	j.attempts[key]++
	r.Attempt = j.attempts[key]
	j.requests = append(j.requests, r)
	j.arrived.release()
	return r
}

func (j *journal) all() []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.requests)
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.requests)
}

// next waits for the first request that no call of next has returned.
func (j *journal) next(t testing.TB, limit time.Duration, hint string) Request {
	t.Helper()
	j.mu.Lock()
	j.taken++
	n := j.taken
	j.mu.Unlock()
	return j.wait(t, n, limit, hint)[n-1]
}

// wait waits until there are n.
func (j *journal) wait(t testing.TB, n int, limit time.Duration, hint string) []Request {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		requests, arrival := j.look()
		if len(requests) >= n {
			return requests
		}
		select {
		case <-arrival:
		case <-timer.C:
			t.Fatalf("webhooktest: waited %v for request %d, and %d came%s\n%s", limit, n, len(requests), tail(requests), hint)
		}
	}
}

// look returns the requests there are, and what closes when there are more.
func (j *journal) look() ([]Request, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.requests), j.arrived.wait()
}

// tail lists the last requests for a failure.
func tail(requests []Request) string {
	const most = 10
	var text strings.Builder
	if len(requests) > most {
		fmt.Fprintf(&text, "; the last %d:", most)
		requests = requests[len(requests)-most:]
	} else if len(requests) > 0 {
		text.WriteByte(':')
	}
	for _, r := range requests {
		fmt.Fprintf(&text, "\n\t%s %v", r.At.Format("15:04:05.000"), r)
		if r.Err != nil {
			fmt.Fprintf(&text, " refused: %v", r.Err)
		}
	}
	return text.String()
}
