package main

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/outhook/webhook"
)

// receiver is what a customer would run: an HTTP server that verifies signatures.
type receiver struct {
	http.Server
	url      string
	secret   webhook.Secret
	requests atomic.Int64
	verified atomic.Int64 // of the requests
}

func startReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + listener.Addr().String(), secret: webhook.NewSecret()}
	// Verifier answers a bad signature with 401, and the request does not reach the handlers.
	verifier := webhook.Verifier{Secrets: []string{r.secret.Value}}
	r.Handler = count(&r.requests, verifier.Middleware(count(&r.verified, handlers())))
	go func() { _ = r.Serve(listener) }()
	return r, nil
}

// endpoints are what to create so that events reach the receiver.
func (r *receiver) endpoints(tenant string) []webhook.Endpoint {
	var endpoints []webhook.Endpoint
	for _, name := range []string{"healthy", "flaky", "down"} {
		endpoints = append(endpoints, webhook.Endpoint{
			TenantID:     tenant,
			URL:          r.url + "/" + name,
			Description:  name,
			EventTypes:   []string{"order.*"},
			Secrets:      []webhook.Secret{r.secret},
			AllowPrivate: webhook.Loopback, // refused otherwise
		})
	}
	return endpoints
}

func handlers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /healthy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.Handle("POST /flaky", failsTwice())
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
	})
	return mux
}

// failsTwice fails the first two attempts of each event.
func failsTwice() http.Handler {
	var mu sync.Mutex
	attempts := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(webhook.HeaderID) // the event's: the same on every attempt
		mu.Lock()
		attempts[id]++
		n := attempts[id]
		mu.Unlock()
		if n <= 2 {
			http.Error(w, "database is starting", http.StatusInternalServerError)
		}
	})
}

func count(n *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		next.ServeHTTP(w, r)
	})
}
