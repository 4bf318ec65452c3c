package webhooktest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// Receiver is a real HTTP server on loopback that takes webhooks. It verifies their signatures and
// fails the test on a bad one, keeps what arrives, and answers 200 unless told otherwise. It is safe
// for concurrent use.
type Receiver struct {
	URL    string // of the server; every path below it is taken
	Secret string // what it verifies with; made for it
	// Timeout is how long Next and Wait wait. Default: 10 s.
	Timeout time.Duration

	t            testing.TB
	script       script
	verification verification
	journal      journal
	turn         sync.Mutex // the nth request gets the nth answer
	released     gate
	closing      chan struct{} // closed when the test ends
}

// NewReceiver starts a receiver that ends with the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{Secret: webhook.NewSecret().Value, Timeout: 10 * time.Second, t: t, closing: make(chan struct{})}
	r.verification.set(standard([]string{r.Secret}))
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	r.URL = server.URL
	t.Cleanup(func() {
		close(r.closing)
		server.CloseClientConnections()
		server.Close() // waits for handlers, which report to t
	})
	return r
}

// Endpoint returns what to create so that events reach this receiver: its URL and secret, with
// loopback allowed.
func (r *Receiver) Endpoint() webhook.Endpoint {
	return webhook.Endpoint{
		URL: r.URL, Secrets: []webhook.Secret{{Value: r.Secret}}, AllowPrivate: webhook.Loopback,
	}
}

// Script answers the next requests with these statuses; see Answer.
func (r *Receiver) Script(status ...int) { r.script.addStatuses(status) }

// Answer answers the next requests with these, each once. Requests with a bad signature use up none.
func (r *Receiver) Answer(answers ...Answer) { r.script.add(answers...) }

// Respond answers what comes after the script, in place of 200. It is called from many goroutines.
func (r *Receiver) Respond(respond func(Request) Answer) { r.script.setRespond(respond) }

// Release ends the waiting of every request that has arrived and hangs.
func (r *Receiver) Release() { r.released.release() }

// Trust verifies with these secrets (whsec_ or whpk_) in place of Secret: those of an endpoint that was
// made without the receiver's, or several during a rotation.
func (r *Receiver) Trust(secrets ...string) { r.verification.set(standard(secrets)) }

// VerifyWith verifies by a scheme of your own; nil accepts everything.
func (r *Receiver) VerifyWith(check func(body []byte, h http.Header) error) {
	r.verification.set(check)
}

// AllowBadSignatures keeps a bad signature from failing the test. It is still answered with 401, and
// Request.Err says what is wrong.
func (r *Receiver) AllowBadSignatures() { r.verification.tolerate() }

// Next waits for the next request, in the order of arrival: each is returned once. It fails the test
// if none comes within Timeout.
func (r *Receiver) Next(t testing.TB) Request {
	t.Helper()
	return r.journal.next(t, r.Timeout, r.hint())
}

// Wait waits until n requests have arrived since the beginning and returns all there are. It fails the
// test if that takes longer than Timeout.
func (r *Receiver) Wait(t testing.TB, n int) []Request {
	t.Helper()
	return r.journal.wait(t, n, r.Timeout, r.hint())
}

// Requests returns all requests up to now, in the order of arrival.
func (r *Receiver) Requests() []Request { return r.journal.all() }

// Count returns how many requests have arrived.
func (r *Receiver) Count() int { return r.journal.count() }

func (r *Receiver) hint() string {
	return "Is the dispatcher running, and is there an endpoint with URL " + r.URL +
		" and AllowPrivate: webhook.Loopback? See Receiver.Endpoint and the delivery's attempts."
}

func (r *Receiver) serve(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(hr.Body)
	if err != nil {
		return // the sender broke off: that was no request
	}
	request := Request{
		ID: hr.Header.Get(webhook.HeaderID), Method: hr.Method, URL: r.URL + hr.URL.RequestURI(),
		Header: hr.Header.Clone(), Body: body, At: time.Now(),
	}
	var tolerant bool
	request.Err, tolerant = r.verification.verify(request)
	released := r.released.wait() // before anyone hears of the request, so that Release finds it waiting
	request, answer := r.take(request)
	if request.Err != nil {
		if !tolerant {
			r.t.Errorf("webhooktest: %v: %v\nSee Receiver.Trust, VerifyWith and AllowBadSignatures.", request, request.Err)
		}
		http.Error(w, request.Err.Error(), http.StatusUnauthorized)
		return
	}
	r.play(answer(request), released, w, hr)
}

func (r *Receiver) take(request Request) (Request, func(Request) Answer) {
	r.turn.Lock()
	defer r.turn.Unlock()
	request = r.journal.add(request)
	if request.Err != nil {
		return request, nil
	}
	return request, r.script.next()
}

func (r *Receiver) play(a Answer, released <-chan struct{}, w http.ResponseWriter, hr *http.Request) {
	if a.Hang {
		hold(r, hr, released)
	}
	if a.Delay > 0 {
		hold(r, hr, time.After(a.Delay))
	}
	if a.Reset && a.Status == 0 {
		reset(w)
		return
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status())
	r.playBody(a, w, hr)
	if a.Reset {
		_ = http.NewResponseController(w).Flush()
		reset(w)
	}
}

func (r *Receiver) playBody(a Answer, w http.ResponseWriter, hr *http.Request) {
	if a.BodyDelay <= 0 {
		_, _ = io.WriteString(w, a.Body)
		return
	}
	for i := range len(a.Body) {
		_ = http.NewResponseController(w).Flush()
		hold(r, hr, time.After(a.BodyDelay))
		_, _ = io.WriteString(w, a.Body[i:i+1])
	}
}

// hold waits, and breaks the connection off if the sender or the test ends first: an answer that goes
// out then would be one that nobody scripted.
func hold[T any](r *Receiver, hr *http.Request, until <-chan T) {
	select {
	case <-until:
	case <-hr.Context().Done():
		panic(http.ErrAbortHandler)
	case <-r.closing:
		panic(http.ErrAbortHandler)
	}
}

// reset makes the kernel answer with RST instead of an orderly end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
