package webhook_test

import (
	"errors"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

var threeDays = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

func TestAScheduleOf75HoursIsKeptToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(threeDays...)})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		b.endpoint(webhook.Endpoint{})
		began := time.Now()
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		want := []time.Time{began}
		for _, wait := range threeDays {
			want = append(want, want[len(want)-1].Add(wait))
		}
		for i, request := range b.client.Wait(t, 10) {
			require.WithinDuration(t, want[i], request.At, time.Second, "attempt %d", i+1)
		}
		time.Sleep(30 * time.Hour)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExhausted, d.State)
		require.Equal(t, webhook.StatusFailed, d.Status)
		require.Equal(t, webhook.CodeBadResponse, d.FailureCode)
		require.Equal(t, 10, b.client.Count())
		require.Equal(t, 10, *d.MaxAttempts)
		require.Nil(t, d.NextRetryAt)
		require.Len(t, d.Attempts, 10)
		for i, a := range d.Attempts {
			require.Equal(t, i+1, a.AttemptNumber)
			if i == 9 {
				require.Nil(t, a.NextAttemptAt)
				break
			}
			require.Equal(t, a.CompletedAt.Add(threeDays[i]), *a.NextAttemptAt)
			require.WithinDuration(t, *a.NextAttemptAt, d.Attempts[i+1].StartedAt, 10*time.Millisecond)
		}
		require.Equal(t, webhook.TriggerInitial, d.Attempts[0].Trigger)
		require.Equal(t, webhook.TriggerAutomatic, d.Attempts[1].Trigger)
	})
}

func TestDefaultRetryMakesTenAttemptsWithinAFifthOfTheSchedule(t *testing.T) {
	for failed, want := range threeDays {
		seen := map[time.Duration]bool{}
		for range 200 {
			wait, again := webhook.DefaultRetry.Next(failed + 1)
			require.True(t, again)
			require.InDelta(t, want.Seconds(), wait.Seconds(), want.Seconds()/5+1e-6)
			seen[wait] = true
		}
		require.Greater(t, len(seen), 100, "jitter")
	}
	_, again := webhook.DefaultRetry.Next(10)
	require.False(t, again)
}

func TestExponentialDoublesUpToItsLimitAndNeverStopsByItself(t *testing.T) {
	p := webhook.Exponential(time.Second, time.Hour, 0)
	middle := time.Second
	for failed := 1; failed <= 200; failed++ {
		wait, again := p.Next(failed)
		require.True(t, again)
		require.LessOrEqual(t, wait, time.Hour)
		require.GreaterOrEqual(t, wait, middle/2)
		require.LessOrEqual(t, wait, middle*3/2+time.Microsecond)
		middle = min(2*middle, time.Hour)
	}
	limited := webhook.Exponential(time.Second, time.Hour, 3)
	_, again := limited.Next(2)
	require.True(t, again)
	_, again = limited.Next(3)
	require.False(t, again)
	_, again = webhook.Exponential(-1, -1, 1<<40).Next(1 << 30)
	require.True(t, again)
}

func TestWhatAResponseDoesToTheWait(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		answer webhooktest.Answer
		want   time.Duration
	}{
		"500":                      {webhooktest.Answer{Status: 500}, second},
		"302 is not followed":      {webhooktest.Answer{Status: 302, Header: http.Header{"Location": {"https://elsewhere.example/"}}}, second},
		"429":                      {webhooktest.Answer{Status: 429}, time.Minute},
		"502":                      {webhooktest.Answer{Status: 502}, time.Minute},
		"504":                      {webhooktest.Answer{Status: 504}, time.Minute},
		"time-out":                 {webhooktest.Answer{Err: webhooktest.ErrTimeout}, time.Minute},
		"our own time-out":         {webhooktest.Answer{Hang: true}, 15*second + time.Minute},
		"refused":                  {webhooktest.Answer{Err: syscall.ECONNREFUSED}, second},
		"Retry-After seconds":      {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"90"}}}, 90 * second},
		"Retry-After less than 60": {webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"5"}}}, time.Minute},
		"Retry-After only delays":  {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"0"}}}, second},
		"Retry-After negative":     {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"-7"}}}, second},
		"Retry-After overflow":     {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"9223372037"}}}, 24 * time.Hour},
		"Retry-After no number":    {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"soon"}}}, second},
		// A bubble's clock begins with the year 2000.
		"Retry-After date":          {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:02:00 GMT"}}}, 2 * time.Minute},
		"Retry-After date, 429":     {webhooktest.Answer{Status: 429, Header: http.Header{"Retry-After": {"Sat, 01 Jan 2000 00:00:30 GMT"}}}, time.Minute},
		"Retry-After date of past":  {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"Fri, 31 Dec 1999 00:00:00 GMT"}}}, second},
		"Retry-After date too late": {webhooktest.Answer{Status: 503, Header: http.Header{"Retry-After": {"Fri, 31 Dec 9999 23:59:59 GMT"}}}, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, webhook.Config{Retry: webhook.Schedule(second)})
				b.client.Answer(c.answer)
				b.endpoint(webhook.Endpoint{})
				id := b.send(webhook.Event{}).DeliveryIDs[0]
				both := b.client.Wait(t, 2)
				require.WithinDuration(t, both[0].At.Add(c.want), both[1].At, 100*time.Millisecond)
				time.Sleep(second)
				require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
			})
		})
	}
}

type fourXXIsFinal struct{ webhook.RetryPolicy }

func (p fourXXIsFinal) Decide(a webhook.DeliveryAttempt, failed int) (time.Duration, bool) {
	if a.StatusCode != nil && *a.StatusCode/100 == 4 {
		return 0, false
	}
	return p.Next(failed)
}

func TestAPolicyMayLookAtTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Jitter(fourXXIsFinal{webhook.Schedule(time.Second, time.Second)}, 0.1)})
		b.client.Script(500, 404)
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		time.Sleep(time.Minute)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExhausted, d.State)
		require.Len(t, d.Attempts, 2)
		require.Nil(t, d.MaxAttempts, "the policy does not say")
	})
}

type panicking struct{}

func (panicking) Next(int) (time.Duration, bool) { panic("policy") }

func TestAPolicyThatPanicsCostsAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: panicking{}, Logger: quiet()})
		b.client.Script(500)
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		time.Sleep(61 * time.Second)
		require.Equal(t, webhook.StateSucceeded, b.delivery(id).State)
	})
}

func TestAnEndpointsOwnScheduleGoesBeforeTheConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{})
		b.client.Respond(func(webhooktest.Request) webhooktest.Answer { return webhooktest.Answer{Status: 500} })
		b.endpoint(webhook.Endpoint{Retry: []time.Duration{10 * time.Minute}})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		both := b.client.Wait(t, 2)
		require.InDelta(t, 600, both[1].At.Sub(both[0].At).Seconds(), 121)
		time.Sleep(time.Second)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExhausted, d.State)
		require.Equal(t, 2, *d.MaxAttempts)
	})
}

func TestOurOwnFaultsAreNotChargedTenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, webhook.Config{Retry: webhook.Schedule(time.Second), Logger: quiet(), Signer: failingSigner{}})
		b.endpoint(webhook.Endpoint{})
		id := b.send(webhook.Event{}).DeliveryIDs[0]
		time.Sleep(time.Hour)
		d := b.delivery(id)
		require.Equal(t, webhook.StateExhausted, d.State)
		require.Equal(t, webhook.CodeInternalError, d.FailureCode)
		require.Len(t, d.Attempts, 12, "ten are free, two make a round")
		require.Zero(t, b.client.Count())
	})
}

type failingSigner struct{}

func (failingSigner) Sign(http.Header, webhook.Message) error { return errors.New("no key today") }
