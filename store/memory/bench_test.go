package memory_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/id"
	"github.com/outhook/webhook/store/memory"
)

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// crowd is a store with many endpoints and deliveries.
type crowd struct {
	*memory.Store
	b          *testing.B
	ids        id.Generator
	generation int64
}

func (c *crowd) endpoints(n int) (endpointIDs []string) {
	for range n {
		row, err := c.CreateEndpoint(c.b.Context(), webhook.EndpointRow{
			ID: c.ids.New(id.Endpoint, began), State: webhook.EndpointEnabled, URL: "https://example.com/", CreatedAt: began,
		})
		require.NoError(c.b, err)
		endpointIDs, c.generation = append(endpointIDs, row.ID), row.Generation
	}
	return endpointIDs
}

// send stores an event for each of the endpoints.
func (c *crowd) send(due time.Time, endpointIDs ...string) {
	g := webhook.SendGroup{Generation: c.generation}
	for _, endpointID := range endpointIDs {
		g.Events = append(g.Events, webhook.NewEvent{
			Event:      webhook.Event{ID: c.ids.New(id.Event, began), Type: "a", Payload: []byte("{}"), CreatedAt: began},
			Deliveries: []webhook.NewDelivery{{ID: c.ids.New(id.Delivery, began), EndpointID: endpointID, DueAt: due}},
		})
	}
	r, err := c.Commit(c.b.Context(), webhook.Batch{Now: began, Sends: []webhook.SendGroup{g}})
	require.NoError(c.b, err)
	require.Equal(c.b, webhook.SendStored, r.Sends[0].Status)
}

func (c *crowd) newAttemptID() string { return c.ids.New(id.Attempt, began) }

// BenchmarkClaim looks for 50 due deliveries where a million are due on one endpoint, of which 8 may
// be taken at a time, and 100,000 endpoints wait for a retry.
func BenchmarkClaim(b *testing.B) {
	c := &crowd{Store: memory.New(), b: b}
	all := c.endpoints(100_051)
	big, due, waiting := all[0], all[1:51], all[51:]
	for range 1000 {
		batch := make([]string, 1000)
		for i := range batch {
			batch[i] = big
		}
		c.send(began, batch...)
	}
	c.send(began.Add(time.Hour), waiting...)
	c.send(began.Add(time.Second), due...)

	now := began.Add(time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		r, err := c.Claim(b.Context(), webhook.ClaimRequest{
			Now: now, LeaseUntil: now.Add(30 * time.Second), Limit: 50, PerEndpoint: 8, Owner: "me", NewAttemptID: c.newAttemptID,
		})
		if err != nil || len(r.Claims) != 50 {
			b.Fatal(len(r.Claims), err)
		}
		back := webhook.Batch{Now: now}
		for _, claim := range r.Claims {
			back.Returned = append(back.Returned, webhook.Return{DeliveryID: claim.DeliveryID, Lease: claim.Lease})
		}
		if _, err := c.Commit(b.Context(), back); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDelivery is the store's share of a delivery that succeeds at once: it goes in handed over,
// and its result follows. 64 ride in a commit.
func BenchmarkDelivery(b *testing.B) {
	c := &crowd{Store: memory.New(), b: b}
	endpointIDs := c.endpoints(100)
	code, payload := 200, make([]byte, 1024)
	headers := map[string]string{"Content-Type": "text/plain"}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		batch := webhook.Batch{Now: began}
		next := webhook.Batch{Now: began}
		for i := range 64 {
			eventID, deliveryID := c.ids.New(id.Event, began), c.ids.New(id.Delivery, began)
			batch.Sends = append(batch.Sends, webhook.SendGroup{Generation: c.generation, Events: []webhook.NewEvent{{
				Event: webhook.Event{ID: eventID, Type: "a", Payload: payload, CreatedAt: began},
				Deliveries: []webhook.NewDelivery{{
					ID: deliveryID, EndpointID: endpointIDs[(n+i)%100], DueAt: began, LeasedBy: "me", LeaseUntil: began.Add(time.Minute),
				}},
			}}})
			next.Outcomes = append(next.Outcomes, webhook.Outcome{
				DeliveryID: deliveryID, Lease: 1, State: webhook.StateSucceeded, Attempt: &webhook.DeliveryAttempt{
					ID: c.newAttemptID(), Status: webhook.AttemptSucceeded, StatusCode: &code, ResponseHeaders: headers,
					StartedAt: began, CompletedAt: began,
				},
			})
		}
		for _, write := range []webhook.Batch{batch, next} {
			if _, err := c.Commit(b.Context(), write); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/delivery")
}
