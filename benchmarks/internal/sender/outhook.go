package sender

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/postgres"
	"github.com/outhook/webhook/store/sqlite"
)

// outhook is this library with its default settings.
type outhook struct {
	d     *webhook.Dispatcher
	stop  context.CancelFunc
	ended chan error
	close func() error // of the store
}

func openSQLite(ctx context.Context, task *load.Task) (load.Sender, error) {
	st, err := sqlite.Open(filepath.Join(task.Dir, "webhooks.db"))
	if err != nil {
		return nil, err
	}
	var store webhook.Store = st
	if us := task.Params["commit_us"]; us > 0 {
		store = &farAway{st, time.Duration(us) * time.Microsecond}
	}
	return openOuthook(ctx, task, store, st.Close)
}

func openMemory(ctx context.Context, task *load.Task) (load.Sender, error) {
	return openOuthook(ctx, task, memory.New(), func() error { return nil })
}

func openPostgres(ctx context.Context, task *load.Task) (load.Sender, error) {
	o, err := openPostgresStore(ctx, task)
	if err != nil {
		return nil, err
	}
	o.run(ctx)
	return o, nil
}

// openPostgresStore returns a dispatcher that does not run yet.
func openPostgresStore(ctx context.Context, task *load.Task) (*outhook, error) {
	pool, err := pgxpool.New(ctx, task.Postgres)
	if err != nil {
		return nil, err
	}
	st, err := postgres.New(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return newOuthook(ctx, task, st, func() error {
		defer pool.Close()
		return st.Close()
	})
}

// farAway is a store on a disk whose every commit takes longer: embedding keeps all else, the optional
// capabilities included.
type farAway struct {
	*sqlite.Store
	delay time.Duration
}

func (s *farAway) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	r, err := s.Store.Commit(ctx, b)
	time.Sleep(s.delay)
	return r, err
}

func openOuthook(ctx context.Context, task *load.Task, store webhook.Store, closeStore func() error) (*outhook, error) {
	o, err := newOuthook(ctx, task, store, closeStore)
	if err != nil {
		return nil, err
	}
	o.run(ctx)
	return o, nil
}

// newOuthook makes an endpoint too, if the task names a receiver.
func newOuthook(ctx context.Context, task *load.Task, store webhook.Store, closeStore func() error) (_ *outhook, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeStore())
		}
	}()
	d, err := webhook.New(store, webhook.Config{Logger: errorsOnly()})
	if err != nil {
		return nil, err
	}
	if task.Receiver != "" {
		if _, err := d.CreateEndpoint(ctx, endpointAt(task, "/hook")); err != nil {
			return nil, err
		}
	}
	return &outhook{d: d, close: closeStore}, nil
}

func endpointAt(task *load.Task, path string) webhook.Endpoint {
	return webhook.Endpoint{URL: "http://" + task.Receiver + path, AllowPrivate: webhook.Loopback}
}

func (o *outhook) run(ctx context.Context) {
	ctx, o.stop = context.WithCancel(context.WithoutCancel(ctx))
	o.ended = make(chan error, 1)
	go func() { o.ended <- o.d.Run(ctx) }()
}

func (o *outhook) Send(ctx context.Context, payloads [][]byte) error {
	if len(payloads) == 1 {
		_, err := o.d.Send(ctx, webhook.Event{Type: "order.created", Payload: payloads[0]})
		return err
	}
	events := make([]webhook.Event, len(payloads))
	for i, p := range payloads {
		events[i] = webhook.Event{Type: "order.created", Payload: p}
	}
	_, err := o.d.SendBatch(ctx, events)
	return err
}

func (o *outhook) Settle(ctx context.Context) error { return o.d.Idle(ctx) }

// Recorded goes through the list of deliveries, and through every hundredth's attempts.
func (o *outhook) Recorded(ctx context.Context) (n int, err error) {
	query := webhook.DeliveryQuery{AllTenants: true, States: []webhook.DeliveryState{webhook.StateSucceeded}, Limit: 500}
	for item, err := range o.d.Deliveries(ctx, query) {
		if err != nil {
			return 0, err
		}
		if n%100 == 0 {
			if err := o.attempted(ctx, item.ID); err != nil {
				return 0, err
			}
		}
		n++
	}
	return n, nil
}

func (o *outhook) attempted(ctx context.Context, deliveryID string) error {
	d, err := o.d.GetDelivery(ctx, deliveryID)
	if err != nil {
		return err
	}
	if len(d.Attempts) == 0 {
		return fmt.Errorf("%s has no attempt on record", deliveryID)
	}
	a := d.Attempts[len(d.Attempts)-1]
	signed := false
	for name := range a.RequestHeaders {
		signed = signed || name == "webhook-signature" || name == "Webhook-Signature"
	}
	if a.Status != webhook.AttemptSucceeded || a.StatusCode == nil || *a.StatusCode != 200 || !signed || a.ResponseBodyPreview == nil {
		return fmt.Errorf("%s has an incomplete attempt on record: %+v", deliveryID, a)
	}
	return nil
}

func (o *outhook) Close() error {
	o.stop()
	return errors.Join(<-o.ended, o.close())
}
