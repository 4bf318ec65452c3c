package sender

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/peer"
	"github.com/outhook/webhook/benchmarks/internal/receiver"
	"github.com/outhook/webhook/store/sqlite"
)

// A storm is 100 endpoints that get events in turn. In a rough one, five of them answer nothing until the
// attempt times out, and have a backlog already that could take every worker. The receiver measures the
// healthy ones.
const (
	stormEndpoints = 100
	stormHanging   = 5
	stormBacklog   = 1000 // of each endpoint that hangs
	stormTimeout   = 2 * time.Second
)

type stormSender struct {
	outhook
	endpoints []string
	rough     bool
	next      atomic.Int64
	elsewhere atomic.Int64 // Sends to endpoints that hang; a calm storm leaves them out
	measured  atomic.Int64 // of those, after the warm-up
	counter   *load.Counter
}

func storm(ctx context.Context, task *load.Task) (load.Result, error) {
	s := &stormSender{rough: task.Params["hanging"] > 0}
	result, err := peer.Measure(ctx, task, func(ctx context.Context, task *load.Task) (_ load.Sender, err error) {
		st, err := sqlite.Open(filepath.Join(task.Dir, "webhooks.db"))
		if err != nil {
			return nil, err
		}
		s.close = st.Close
		defer func() {
			if err != nil {
				err = errors.Join(err, st.Close())
			}
		}()
		if s.counter, err = load.OpenCounter(task.Counter); err != nil {
			return nil, err
		}
		if err := s.prepare(ctx, task, st); err != nil {
			return nil, err
		}
		s.run(ctx)
		return s, nil
	})
	result.Sent -= int(s.measured.Load())
	return result, err
}

func (s *stormSender) prepare(ctx context.Context, task *load.Task, st webhook.Store) (err error) {
	s.d, err = webhook.New(st, webhook.Config{
		Logger: errorsOnly(), AttemptTimeout: stormTimeout, DrainTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	for i := range stormEndpoints {
		path := fmt.Sprintf("/hook/%d", i)
		if i < stormHanging {
			path = fmt.Sprintf("%s/%d", receiver.HangPath, i)
		}
		e, err := s.d.CreateEndpoint(ctx, endpointAt(task, path))
		if err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, e.ID)
	}
	if !s.rough {
		return nil
	}
	for _, id := range s.endpoints[:stormHanging] {
		events := make([]webhook.Event, stormBacklog)
		for i := range events {
			events[i] = webhook.Event{Type: "order.created", Payload: load.Payload(i, true), EndpointIDs: []string{id}}
		}
		if _, err := s.d.SendBatch(ctx, events); err != nil {
			return err
		}
	}
	return nil
}

// Send takes the endpoints in turn. What goes to one that hangs counts as arrived: nobody will say so.
func (s *stormSender) Send(ctx context.Context, payloads [][]byte) error {
	i := int(s.next.Add(1)) % stormEndpoints
	if i < stormHanging {
		s.counter.Add(1)
		s.elsewhere.Add(1)
		if _, warm, _, _ := load.Parse(payloads[0]); !warm {
			s.measured.Add(1)
		}
		if !s.rough {
			return nil
		}
	}
	_, err := s.d.Send(ctx, webhook.Event{Type: "order.created", Payload: payloads[0], EndpointIDs: s.endpoints[i : i+1]})
	return err
}

// Settle waits for the healthy endpoints.
func (s *stormSender) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, id := range s.endpoints[stormHanging:] {
		for {
			stats, err := s.d.Stats(ctx, webhook.StatsQuery{EndpointID: id})
			if err != nil || stats.Pending == 0 {
				if err != nil {
					return err
				}
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

func (s *stormSender) Recorded(ctx context.Context) (int, error) {
	n, err := s.outhook.Recorded(ctx)
	return n + int(s.elsewhere.Load()), err
}

func (s *stormSender) Close() error { return errors.Join(s.outhook.Close(), s.counter.Close()) }
