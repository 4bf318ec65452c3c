package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/outhook/webhook"
)

const maxEndpoints = 1 << 16

// arrival is one event at one endpoint. It holds no pointers, or the garbage collector would go
// through all of them again and again.
type arrival struct {
	endpoint uint16
	id       [30]byte // webhook-id
}

// receiver verifies what arrives and keeps the set of it.
type receiver struct {
	http.Server
	plan   plan
	url    string
	secret webhook.Secret

	mu         sync.Mutex
	seen       map[arrival]struct{} // guarded by mu, as all below
	duplicates int
	strays     int   // at an endpoint that the event does not match
	fault      error // the first
}

func startReceiver(p plan) (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{
		plan: p, url: "http://" + listener.Addr().String(), secret: webhook.NewSecret(),
		seen: make(map[arrival]struct{}, p.deliveries()), // all its memory now: none of the growth is its own
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{endpoint}", r.take)
	r.Handler = webhook.Verifier{Secrets: []string{r.secret.Value}}.Middleware(mux)
	go func() { _ = r.Serve(listener) }()
	return r, nil
}

func (r *receiver) endpoints() []webhook.Endpoint {
	endpoints := make([]webhook.Endpoint, r.plan.endpoints)
	for i := range endpoints {
		endpoints[i] = webhook.Endpoint{
			URL: fmt.Sprintf("%s/%d", r.url, i), Secrets: []webhook.Secret{r.secret}, AllowPrivate: webhook.Loopback,
		}
		for n := range r.plan.endpoints {
			if r.plan.matches(n, i) {
				endpoints[i].EventTypes = append(endpoints[i].EventTypes, r.plan.eventType(n))
			}
		}
	}
	return endpoints
}

func (r *receiver) take(w http.ResponseWriter, hr *http.Request) {
	var event struct{ N int }
	endpoint, err := strconv.ParseUint(hr.PathValue("endpoint"), 10, 16)
	if err == nil {
		err = json.NewDecoder(hr.Body).Decode(&event)
	}
	a := arrival{endpoint: uint16(endpoint)}
	id := hr.Header.Get(webhook.HeaderID)
	if err == nil && copy(a.id[:], id) != len(id) {
		err = fmt.Errorf("webhook-id %q is longer than %d bytes", id, len(a.id))
	}
	r.keep(a, event.N, err)
}

func (r *receiver) keep(a arrival, n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.fault = cmp.Or(r.fault, err)
		return
	}
	if !r.plan.matches(n, int(a.endpoint)) {
		r.strays++
	}
	if _, seen := r.seen[a]; seen {
		r.duplicates++
	}
	r.seen[a] = struct{}{}
}

// arrived is how many different deliveries there were, or what was wrong with one.
func (r *receiver) arrived() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen), r.fault
}

func (r *receiver) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf("receiver: %d arrived, %d duplicates, %d at a wrong endpoint\n", len(r.seen), r.duplicates, r.strays)
	if len(r.seen) != r.plan.deliveries() || r.duplicates > 0 || r.strays > 0 {
		return fmt.Errorf("not every event arrived exactly once at each of its %d endpoints", r.plan.matching)
	}
	return nil
}
