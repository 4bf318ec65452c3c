package webhook_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/webhooktest"
)

// common is a store that several dispatchers share, with all that such a store may offer.
type common struct {
	*memory.Store
	mu    sync.Mutex
	ahead time.Duration // of its clock
	peers map[string]bool
	wakes map[int]func()
	fails int // how often Listen fails before it hears
	busy  int // how often Commit says that a key is busy
	calls int // of Commit
}

func newCommon() *common {
	return &common{Store: memory.New(), peers: map[string]bool{}, wakes: map[int]func(){}}
}

func (c *common) Now(context.Context) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead), nil
}

func (c *common) Listen(ctx context.Context, wake func()) error {
	c.mu.Lock()
	if c.fails--; c.fails >= 0 {
		c.mu.Unlock()
		return context.DeadlineExceeded
	}
	me := len(c.wakes)
	c.wakes[me] = wake
	c.mu.Unlock()
	wake()
	<-ctx.Done()
	return ctx.Err()
}

func (c *common) Peers(_ context.Context, _ time.Time, owner string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peers[owner] = true
	return len(c.peers), nil
}

func (c *common) Leave(_ context.Context, owner string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.peers, owner)
	return nil
}

func (c *common) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	c.mu.Lock()
	c.calls++
	busy := c.busy > 0 && len(b.Sends) > 0
	if busy {
		c.busy--
	}
	c.mu.Unlock()
	if busy {
		return webhook.Result{Sends: []webhook.SendResult{{Status: webhook.SendBusy}}}, nil
	}
	r, err := c.Store.Commit(ctx, b)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, wake := range c.wakes {
		wake()
	}
	return r, err
}

// over is a dispatcher over a store that others use too.
func over(t *testing.T, c *common, cfg webhook.Config) *bench {
	client := &webhooktest.Client{}
	cfg.HTTPClient, cfg.Logger = client, quiet()
	d, err := webhook.New(c, cfg)
	require.NoError(t, err)
	b := &bench{t: t, Dispatcher: d, store: c.Store, client: client}
	t.Cleanup(func() {
		if b.stop != nil {
			b.stop()
		}
	})
	return b
}

func TestTheStoresClockIsFollowedInBothDirections(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			c := newCommon()
			c.ahead = ahead
			a, b := over(t, c, webhook.Config{}), over(t, c, webhook.Config{})
			var wall jumpingClock
			wall.set(20 * time.Minute)
			webhook.SetWall(b.Dispatcher, wall.now) // another host, whose clock is off
			a.endpoint(webhook.Endpoint{})
			e, err := a.GetEvent(t.Context(), a.send(webhook.Event{}).EventID)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(ahead), e.CreatedAt, time.Second, "before Run, too")
			b.run()
			synctest.Wait()
			require.Equal(t, 1, b.client.Count(), "what another host sent is due here at once")

			c.mu.Lock()
			c.ahead += 10 * time.Minute
			c.mu.Unlock()
			time.Sleep(2 * time.Minute)
			e, err = b.GetEvent(t.Context(), b.send(webhook.Event{}).EventID)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(c.ahead), e.CreatedAt, time.Second, "asked again within a minute or so")
		})
	}
}

func TestOthersWorkIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommon()
		c.fails = 3
		sender, worker := over(t, c, webhook.Config{}), over(t, c, webhook.Config{PollInterval: time.Hour})
		sender.endpoint(webhook.Endpoint{})
		worker.run()
		time.Sleep(10 * time.Second) // it listens again after faults
		sender.send(webhook.Event{})
		synctest.Wait()
		require.Equal(t, 1, worker.client.Count())
	})
}

func TestARateLimitIsSharedByThoseWhoDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommon()
		a, b := over(t, c, webhook.Config{}), over(t, c, webhook.Config{})
		a.endpoint(webhook.Endpoint{RateLimit: 10})
		for range 500 {
			a.send(webhook.Event{})
		}
		a.run()
		b.run()
		time.Sleep(2 * time.Second)
		count := func() int { return a.client.Count() + b.client.Count() }
		before := count()
		time.Sleep(10 * time.Second)
		require.InDelta(t, 100, count()-before, 5)
		b.stop()
		time.Sleep(2 * time.Second)
		before = count()
		time.Sleep(10 * time.Second)
		require.InDelta(t, 100, count()-before, 5, "who has left leaves his share to the others")
	})
}

func TestABusyKeyIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommon()
		a := over(t, c, webhook.Config{})
		c.busy = 5
		a.send(webhook.Event{IdempotencyKey: "k"})
		require.Equal(t, 6, c.calls)
		c.busy = 1 << 30
		began := time.Now()
		_, err := a.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("1"), IdempotencyKey: "k"})
		require.ErrorIs(t, err, webhook.ErrConflict)
		require.WithinRange(t, time.Now(), began.Add(5*time.Second), began.Add(15*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.Send(ctx, webhook.Event{Type: "a", Payload: []byte("1"), IdempotencyKey: "k"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
