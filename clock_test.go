package webhook_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// jumpingClock is a wall clock that can be set.
type jumpingClock struct{ by atomic.Int64 }

func (c *jumpingClock) now() time.Time       { return time.Now().Add(time.Duration(c.by.Load())) }
func (c *jumpingClock) set(by time.Duration) { c.by.Store(int64(by)) }

func TestAWallClockThatJumpsAheadIsFollowedWithoutDoubling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{Retry: webhook.Schedule(3 * time.Hour), Logger: quiet()})
		var wall jumpingClock
		webhook.SetWall(b.Dispatcher, wall.now)
		b.run()
		b.endpoint(webhook.Endpoint{})
		b.client.Answer(webhooktest.Answer{Status: 500}, webhooktest.Answer{Delay: 10 * time.Second})
		retried := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		inFlight := b.send(webhook.Event{}).DeliveryIDs[0]
		synctest.Wait()
		require.Equal(t, 2, b.client.Count())

		wall.set(4 * time.Hour) // the machine slept
		time.Sleep(5 * time.Second)
		during := b.send(webhook.Event{}).DeliveryIDs[0]
		time.Sleep(3 * time.Second)
		require.Equal(t, 2, b.client.Count(), "nothing is begun while an attempt under the old time is under way")
		time.Sleep(5 * time.Second)
		require.NoError(t, b.Idle(t.Context()))
		require.Equal(t, 4, b.client.Count())
		for _, id := range []string{retried, inFlight, during} {
			d := b.delivery(id)
			require.Equal(t, webhook.StateSucceeded, d.State)
			for _, a := range d.Attempts {
				require.NotEqual(t, webhook.AttemptInterrupted, a.Status)
			}
		}
		last := b.client.Requests()[3]
		stamp, err := strconv.ParseInt(last.Header.Get("Webhook-Timestamp"), 10, 64)
		require.NoError(t, err)
		require.InDelta(t, wall.now().Unix(), stamp, 30)
	})
}

func TestAWallClockThatIsSetBackStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := prepare(t, webhook.Config{Retry: webhook.Schedule(time.Minute)})
		var wall jumpingClock
		webhook.SetWall(b.Dispatcher, wall.now)
		b.run()
		b.endpoint(webhook.Endpoint{})
		b.client.Script(500)
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		require.NoError(t, b.Idle(t.Context()))
		wall.set(-5 * time.Hour)
		time.Sleep(62 * time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateSucceeded, d.State)
		require.True(t, d.Attempts[1].StartedAt.After(d.Attempts[0].StartedAt))
		later := b.send(webhook.Event{})
		require.Greater(t, later.EventID, d.EventID, "IDs never go back")
		require.NoError(t, b.Idle(t.Context()))
		stamp, err := strconv.ParseInt(b.client.Requests()[2].Header.Get("Webhook-Timestamp"), 10, 64)
		require.NoError(t, err)
		require.Equal(t, wall.now().Unix(), stamp, "signatures carry the time that receivers have")
	})
}
