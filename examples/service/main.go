// Service is a small shop that tells its customers what happens to their orders, by webhook, with the
// console mounted beside its own pages.
//
//	go run ./examples/service -traffic
//
// and then look at http://127.0.0.1:8080/webhooks/. With -traffic it makes up orders, and receivers for
// them that work, fail now and then, or are down. Without, name a receiver of yours and place orders yourself:
//
//	go run ./examples/service -url http://127.0.0.1:9000/hooks
//	curl -d '{"customer":"acme","item":"tea"}' http://127.0.0.1:8080/orders
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/store/sqlite"
)

type options struct {
	addr     string
	db       string
	password string
	url      string
	traffic  bool
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "listen on this `address`")
	flag.StringVar(&o.db, "db", "service.db", "SQLite `file`")
	flag.StringVar(&o.password, "password", "", "of the console's user \"admin\" (default: a new one, printed; none for a loopback address)")
	flag.StringVar(&o.url, "url", "", "tell this `URL` of the orders of the customer acme")
	flag.BoolVar(&o.traffic, "traffic", false, "make up orders and receivers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends; then requests finish first, deliveries second, and the file is closed last.
func run(ctx context.Context, o options) (err error) {
	store, err := sqlite.Open(o.db)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	s := &service{d: d, password: passwordFor(o, listener.Addr())}
	if o.url != "" {
		if err := s.subscribe(ctx, o.url); err != nil {
			return err
		}
	}
	fmt.Printf("The console is at http://%s/webhooks/\n", listener.Addr())

	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(background) }()
	if o.traffic {
		stopTraffic, err := startTraffic(ctx, s)
		if err != nil {
			return err
		}
		defer stopTraffic()
	}

	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	<-ctx.Done()
	closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err = server.Shutdown(closing)
	stopBackground()
	return errors.Join(err, <-ended)
}

type service struct {
	d        *webhook.Dispatcher
	password string // of the console; "" asks for none
	orders   atomic.Int64
}

func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.placeOrder)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/webhooks/", http.StatusFound) })
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", s.askPassword(console.New(s.d, console.Config{
		Title:     "Shop webhooks",
		Authorize: s.authorize,
	}))))
	return mux
}

// authorize lets in whoever knows the password, as an operator. Your service would look at its session,
// and give a customer console.Access{TenantID: customer, Write: true}.
func (s *service) authorize(r *http.Request) (console.Access, bool) {
	name, password, _ := r.BasicAuth()
	known := s.password == "" || name == "admin" && subtle.ConstantTimeCompare([]byte(password), []byte(s.password)) == 1
	return console.Access{AllTenants: true, Write: true}, known
}

// askPassword makes browsers ask. The console itself only says no.
func (s *service) askPassword(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, known := s.authorize(r); !known {
			w.Header().Set("WWW-Authenticate", `Basic realm="console"`)
			http.Error(w, "the console wants a password", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// passwordFor asks for none where only this machine can come in, and else makes one up.
func passwordFor(o options, addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); o.password != "" || ok && tcp.IP.IsLoopback() {
		return o.password
	}
	password := rand.Text()
	fmt.Printf("User admin, password %s\n", password)
	return password
}

// subscribe has acme told at a URL, unless an earlier run did.
func (s *service) subscribe(ctx context.Context, url string) error {
	known, err := s.d.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: "acme", Limit: 500})
	if err != nil {
		return err
	}
	for _, e := range known {
		if e.URL == url {
			return nil
		}
	}
	e, err := s.d.CreateEndpoint(ctx, webhook.Endpoint{TenantID: "acme", URL: url, AllowPrivate: webhook.Loopback})
	if err != nil {
		return err
	}
	fmt.Println("Your receiver verifies with", e.Secrets[0].Value)
	return nil
}

type order struct {
	Number   int64  `json:"number"`
	Customer string `json:"customer"`
	Item     string `json:"item"`
}

func (s *service) placeOrder(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<10))
	var o order
	if err != nil || json.Unmarshal(body, &o) != nil || o.Customer == "" || o.Item == "" {
		http.Error(w, `want {"customer":"acme","item":"tea"}`, http.StatusBadRequest)
		return
	}
	receipt, err := s.tell(r.Context(), "order.created", o)
	if err != nil {
		slog.ErrorContext(r.Context(), "order not placed", "error", err)
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(receipt)
}

// tell sends an event of an order to its customer's endpoints.
func (s *service) tell(ctx context.Context, eventType string, o order) (webhook.Receipt, error) {
	o.Number = s.orders.Add(1)
	payload, err := json.Marshal(o)
	if err != nil {
		return webhook.Receipt{}, err
	}
	return s.d.Send(ctx, webhook.Event{TenantID: o.Customer, Type: eventType, Payload: payload})
}
