package webhooktest

import (
	"net/http"
	"sync"
	"time"
)

// Answer is how a [Receiver] or a [Client] answers one request. The zero value is 200 without a body,
// at once.
type Answer struct {
	Status int // 200
	Header http.Header
	Body   string
	// Delay passes before the status line. A Client takes it from the clock of the bubble.
	Delay time.Duration
	// Hang waits before the status line until Release is called, the sender gives up, or the test ends.
	Hang bool
	// BodyDelay passes before each byte of Body.
	BodyDelay time.Duration
	// Reset breaks the connection (a TCP reset): instead of a status line if Status is 0, else after
	// Body.
	Reset bool
	// Err is what a Client returns in place of a response, inside a *url.Error as http.Client does it.
	// See ErrTimeout and the errors of package syscall. A Receiver has no use for it.
	Err error
}

func (a Answer) status() int {
	if a.Status == 0 {
		return http.StatusOK
	}
	return a.Status
}

// script is the answers to come.
type script struct {
	mu      sync.Mutex
	queue   []Answer             // guarded by mu
	respond func(Request) Answer // guarded by mu; nil: 200
}

func (s *script) add(answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, answers...)
}

func (s *script) addStatuses(status []int) {
	for _, code := range status {
		s.add(Answer{Status: code})
	}
}

func (s *script) setRespond(respond func(Request) Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.respond = respond
}

// next takes an answer from the script. The function belongs to the user: call it without locks.
func (s *script) next() func(Request) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) > 0 {
		answer := s.queue[0]
		s.queue = s.queue[1:]
		return func(Request) Answer { return answer }
	}
	if s.respond != nil {
		return s.respond
	}
	return func(Request) Answer { return Answer{} }
}

// gate lets go whoever waits at it. Its channel is made by the first who waits, so that it belongs to
// the synctest bubble it is used in.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // guarded by mu
}

func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	return g.open
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}
