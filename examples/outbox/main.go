// Outbox is an order service that writes an order and its event in one transaction: the event is sent if and
// only if the order stands. It runs on SQLite, or on PostgreSQL with -postgres:
//
//	go run ./examples/outbox
//	go run ./examples/outbox -postgres "host=/run/postgresql dbname=shop"
//
// To show it, the program starts the service as a process of its own, kills that in the middle of its work
// a few times, lets the last one finish, and then compares the orders with what a receiver got.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/outhook/webhook"
)

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.Postgres, "postgres", "", "connection string of a PostgreSQL database; default: SQLite")
	flag.StringVar(&o.File, "file", "outbox.db", "SQLite's database")
	flag.IntVar(&o.Orders, "orders", 300, "orders that each service places")
	flag.IntVar(&o.Kills, "kills", 3, "services to kill in the middle")
	flag.StringVar(&o.Service, "service", "", "be the service, with this name, and send to -url")
	flag.StringVar(&o.URL, "url", "", "where the service sends")
	flag.Parse()
	var err error
	if o.Service != "" {
		err = serve(context.Background(), o)
	} else {
		err = demonstrate(o)
	}
	if err != nil {
		log.Fatal(err)
	}
}

type options struct {
	Postgres, File, Service, URL string
	Orders, Kills                int
}

// order is what is stored and what is sent.
type order struct {
	ID       string `json:"id"`
	Declined bool   `json:"declined"` // its transaction was rolled back
}

// serve places orders and delivers, until all that was due is delivered.
func serve(ctx context.Context, o options) error {
	s, err := openShop(ctx, o)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := webhook.New(s.store(), webhook.Config{
		AttemptTimeout: time.Second, PollInterval: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if err := subscribe(ctx, d, o.URL); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(running) }()
	for n := range o.Orders {
		if err := place(ctx, s, d, order{ID: fmt.Sprintf("%s-%d", o.Service, n), Declined: rand.IntN(4) == 0}); err != nil {
			return err
		}
	}
	for { // what a killed service had under way is due when its lease ends
		stats, err := d.Stats(ctx, webhook.StatsQuery{})
		if err != nil {
			return err
		}
		if stats.Pending == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return errors.Join(<-ended, s.list(ctx, os.Stdout))
}

// place writes an order and its event. Only the commit makes either of them true.
func place(ctx context.Context, s shop, d *webhook.Dispatcher, o order) error {
	payload, err := json.Marshal(o)
	if err != nil {
		return err
	}
	err = s.transact(ctx, func(t transaction) error {
		if err := t.insert(ctx, o); err != nil {
			return err
		}
		if _, err := d.SendTx(ctx, t.webhooks(), webhook.Event{Type: "order.placed", Payload: payload}); err != nil {
			return err
		}
		if o.Declined { // say, the payment failed
			return errDeclined
		}
		return nil
	})
	if errors.Is(err, errDeclined) {
		return nil
	}
	d.Wake() // or the next poll finds it
	return err
}

var errDeclined = errors.New("declined")

// subscribe makes the endpoint that the events go to, once.
func subscribe(ctx context.Context, d *webhook.Dispatcher, url string) error {
	all, err := d.ListEndpoints(ctx, webhook.EndpointQuery{})
	if err != nil || len(all) > 0 {
		return err
	}
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{URL: url, AllowPrivate: webhook.Loopback})
	return err
}
