package webhook_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// sendWatcher is told of sends, too.
type sendWatcher struct {
	watcher
	name  string
	said  *[]string
	trace string
	panic bool
}

type sendKey struct{}

func (w *sendWatcher) ObserveSend(ctx context.Context, events []webhook.Event) (context.Context, func([]webhook.Receipt, error)) {
	if w.panic {
		panic("mine")
	}
	*w.said = append(*w.said, w.name+" begins")
	if events[0].TraceContext == "" {
		events[0].TraceContext = w.trace
	}
	return context.WithValue(ctx, sendKey{}, w.name), func(receipts []webhook.Receipt, err error) {
		*w.said = append(*w.said, w.name+" ends")
		if err != nil {
			*w.said = append(*w.said, err.Error())
		}
	}
}

func TestSendObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		outer := &sendWatcher{name: "outer", said: &said, trace: "trace-of-outer"}
		inner := &sendWatcher{name: "inner", said: &said, trace: "trace-of-inner"}
		plain := &watcher{}
		b := start(t, webhook.Config{Observer: webhook.Observers(outer, nil, plain, inner)})
		b.endpoint(webhook.Endpoint{})
		receipt := b.send(webhook.Event{})
		require.Equal(t, []string{"outer begins", "inner begins", "inner ends", "outer ends"}, said)
		event, err := b.GetEvent(t.Context(), receipt.EventID)
		require.NoError(t, err)
		require.Equal(t, "trace-of-outer", event.TraceContext)
		b.client.Wait(t, 1)
		require.NoError(t, b.Idle(t.Context()))
		synctest.Wait()
		for _, w := range []*watcher{&outer.watcher, plain, &inner.watcher} {
			require.Len(t, w.kinds(webhook.NoticeSent), 1)
			attempt := w.kinds(webhook.NoticeAttempt)[0]
			require.Equal(t, "trace-of-outer", attempt.Event.TraceContext)
			require.Nil(t, attempt.Event.Payload)
			require.False(t, attempt.DueAt.After(attempt.Attempt.StartedAt))
		}

		said = nil
		events := []webhook.Event{{Type: "a", Payload: []byte("1")}, {Type: "not good", Payload: []byte("2")}}
		_, err = b.SendBatch(t.Context(), events)
		require.ErrorIs(t, err, webhook.ErrInvalid)
		require.Empty(t, events[0].TraceContext)
		require.Equal(t, []string{"outer begins", "inner begins", "inner ends", err.Error(), "outer ends", err.Error()}, said)
	})
}

// slowObserver needs a second to count.
type slowObserver struct{ counted atomic.Int32 }

func (o *slowObserver) Observe(context.Context, webhook.Notice) {
	time.Sleep(time.Second)
	o.counted.Add(1)
}

func TestSentIsObservedBeforeSendReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowObserver{}
		b := start(t, webhook.Config{Observer: slow})
		b.send(webhook.Event{})
		require.EqualValues(t, 1, slow.counted.Load())
	})
}

func TestPanickingObserverCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Observer: &sendWatcher{panic: true}, Logger: quiet()})
		b.endpoint(webhook.Endpoint{})
		b.send(webhook.Event{})
		b.client.Wait(t, 1)
	})
}

func TestNoticesOfWhatEndsWithoutSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watch := &watcher{}
		b := start(t, webhook.Config{Observer: watch, Retry: webhook.Schedule()})
		b.endpoint(webhook.Endpoint{RateLimit: 0.1})
		b.client.Answer(webhooktest.Answer{Err: errors.New("no network")})
		b.send(webhook.Event{})
		late := b.send(webhook.Event{ExpiresAt: time.Now().Add(time.Second)})
		time.Sleep(time.Minute)

		exhausted := watch.kinds(webhook.NoticeExhausted)
		require.Len(t, exhausted, 1)
		require.Equal(t, webhook.CodeUnknown, exhausted[0].Attempt.ErrorCode)
		expired := watch.kinds(webhook.NoticeExpired)
		require.Len(t, expired, 1)
		require.Equal(t, late.DeliveryIDs[0], expired[0].Delivery.ID)
		require.Equal(t, late.EventID, expired[0].Event.ID)
		require.Nil(t, expired[0].Attempt)
	})
}
