package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/outhook/webhook"
)

// customers have receivers on this machine: name, and the share of requests that fail.
var customers = map[string]map[string]float64{
	"acme":    {"orders": 0.01, "warehouse": 0.1},
	"globex":  {"billing": 0.03, "staging": 1},
	"initech": {"printers": 0.3},
}

// startTraffic makes receivers, endpoints for them, and orders, until ctx ends; then the function ends
// the receivers.
func startTraffic(ctx context.Context, s *service) (stop func(), err error) {
	receivers := httptest.NewServer(http.HandlerFunc(receive))
	for tenant, names := range customers {
		if err := subscribe(ctx, s.d, tenant, names, receivers.URL); err != nil {
			receivers.Close()
			return nil, err
		}
	}
	go placeOrders(ctx, s)
	return receivers.Close, nil
}

// subscribe creates a customer's endpoints. Those of an earlier run get the new address: the receivers
// listen on another port every time.
func subscribe(ctx context.Context, d *webhook.Dispatcher, tenant string, names map[string]float64, url string) error {
	known, err := d.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: tenant, Limit: 500})
	if err != nil {
		return err
	}
	for name := range names {
		target := url + "/" + tenant + "/" + name
		found := false
		for _, e := range known {
			if e.Description != name {
				continue
			}
			found = true
			if _, err := d.UpdateEndpoint(ctx, e.ID, func(e *webhook.Endpoint) error { e.URL = target; return nil }); err != nil {
				return err
			}
		}
		if found {
			continue
		}
		e := webhook.Endpoint{TenantID: tenant, URL: target, Description: name, AllowPrivate: webhook.Loopback,
			Retry: []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second}}
		if _, err := d.CreateEndpoint(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// receive answers as a customer's server would: mostly well, after a while.
func receive(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(time.Duration(5+rand.ExpFloat64()*40) * time.Millisecond):
	case <-r.Context().Done():
		return
	}
	for tenant, names := range customers {
		for name, fails := range names {
			if r.URL.Path == "/"+tenant+"/"+name && rand.Float64() < fails {
				http.Error(w, "the database is not there", http.StatusServiceUnavailable)
				return
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"received":true}`))
}

func placeOrders(ctx context.Context, s *service) {
	types := []string{"order.created", "order.paid", "order.shipped"}
	items := []string{"tea", "teapot", "kettle", "mug"}
	tenants := []string{"acme", "globex", "initech"}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(rand.ExpFloat64() * float64(300*time.Millisecond))):
		}
		o := order{Customer: tenants[rand.IntN(len(tenants))], Item: items[rand.IntN(len(items))]}
		if _, err := s.tell(ctx, types[rand.IntN(len(types))], o); err != nil && ctx.Err() == nil {
			slog.ErrorContext(ctx, "order not placed", "error", err)
		}
	}
}
