package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// receiver answers requests and writes each to a ledger before it answers. It lives in the parent,
// which nobody kills.
type receiver struct {
	server *httptest.Server
	seed   uint64
	hangs  bool // now and then longer than a process drains

	mu     sync.Mutex
	ledger *os.File
	seen   map[string]int // requests by path and event
	active map[string]int // the same, not answered yet
	twice  int            // requests that came while another of the same delivery was active
	broken error
	prey   string        // the process that a trap is for
	sprung chan struct{} // the trap; nil: none is set
}

// entry is one line of the ledger.
type entry struct {
	EventID string    `json:"event"`
	Path    int       `json:"path"`
	Key     string    `json:"key"`
	Whole   bool      `json:"whole"` // the payload is the one that was sent
	Status  int       `json:"status"`
	At      time.Time `json:"at"`
}

func newReceiver(ledger string, seed uint64, hangs bool) (*receiver, error) {
	file, err := os.OpenFile(ledger, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	r := &receiver{seed: seed, hangs: hangs, ledger: file, seen: map[string]int{}, active: map[string]int{}}
	r.server = httptest.NewServer(r)
	return r, nil
}

func (r *receiver) url() string { return r.server.URL }

func (r *receiver) close() {
	r.server.CloseClientConnections()
	r.server.Close()
	_ = r.ledger.Close()
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	payload, err := io.ReadAll(q.Body)
	if err != nil {
		return // its process died while it sent: this was no request
	}
	path, err := strconv.Atoi(strings.TrimPrefix(q.URL.Path, "/"))
	if err != nil {
		http.NotFound(w, q)
		return
	}
	e := entry{EventID: q.Header.Get("webhook-id"), Path: path, At: time.Now()}
	e.Key, e.Whole = keyOf(payload)
	defer r.underWay(e.EventID, path)()
	b := r.behaviour(e.EventID, path)
	n := r.enter(&e, b)
	if b.hangs && n > 1 {
		b.delay = 0
	}
	if e.Status != http.StatusOK && r.trapped(q.UserAgent()) {
		b.delay = trapDelay
	}
	select {
	case <-time.After(b.delay):
	case <-q.Context().Done():
	}
	w.WriteHeader(e.Status)
}

// enter writes the entry and returns how many of this event and path there are.
func (r *receiver) enter(e *entry, b behaviour) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := fmt.Sprintf("%s/%d", e.EventID, e.Path)
	r.seen[at]++
	if e.Status = http.StatusOK; r.seen[at] <= b.refusals {
		e.Status = http.StatusInternalServerError
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.ledger.Write(append(line, '\n'))
	}
	if err != nil && r.broken == nil {
		r.broken = err
	}
	return r.seen[at]
}

// behaviour is how the receiver treats an event at a path.
type behaviour struct {
	refusals int // requests answered 500 before the first 200
	delay    time.Duration
	hangs    bool // the first time, longer than a process drains: a second time would have nothing new to show
}

// refusalsAllowed is how often a delivery may be refused and still be tried again.
const refusalsAllowed = 3

func (r *receiver) behaviour(eventID string, path int) behaviour {
	h := hashOf(fmt.Sprintf("%d %s %d", r.seed, eventID, path))
	b := behaviour{delay: time.Duration(h%8) * time.Millisecond}
	switch pick := h / 8 % 100; {
	case pick < 8:
		b.refusals = int(1 + pick%refusalsAllowed)
	case pick < 13:
		b.delay = time.Duration(20+h/800%100) * time.Millisecond
	case pick == 13 && r.hangs:
		b.delay, b.hangs = drainTimeout+time.Second, true
	}
	return b
}

// trapDelay is how long the answer waits that a process is to be stopped before.
const trapDelay = 300 * time.Millisecond

// trap returns a channel that is closed when the next request of a process comes in that is going to be refused.
// Its answer then waits a moment.
func (r *receiver) trap(process string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.prey, r.sprung = process, make(chan struct{})
	return r.sprung
}

func (r *receiver) trapped(process string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sprung == nil || process != r.prey {
		return false
	}
	close(r.sprung)
	r.sprung = nil
	return true
}

// entries reads the ledger.
func (r *receiver) entries() (all []entry, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return nil, r.broken
	}
	file, err := os.Open(r.ledger.Name())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var e entry
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, lines.Err()
}

// underWay counts a request until the function it returns is called.
func (r *receiver) underWay(eventID string, path int) (over func()) {
	at := fmt.Sprintf("%s/%d", eventID, path)
	change := func(n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.active[at] += n; n > 0 && r.active[at] > 1 {
			r.twice++
		}
		if r.active[at] == 0 {
			delete(r.active, at)
		}
	}
	change(1)
	return func() { change(-1) }
}

func (r *receiver) overlapped() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.twice
}
