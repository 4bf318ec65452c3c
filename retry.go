package webhook

import (
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// DefaultRetry tries at once and then after 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h,
// each ±20 %: 10 attempts in about three days, the schedule that Standard Webhooks gives as its
// example.
var DefaultRetry = Jitter(Schedule(
	5*time.Second, 5*time.Minute, 30*time.Minute, 2*time.Hour, 5*time.Hour,
	10*time.Hour, 14*time.Hour, 20*time.Hour, 24*time.Hour,
), 0.2)

// The limits of every wait, whatever the policy.
const (
	throttleWait = time.Minute // least after 429, 502, 504 and timeouts
	maxRetryWait = 365 * 24 * time.Hour
	freeFailures = 10 // uncharged failures in a row; from then on each is charged
)

// Schedule waits exactly so long after the first, second, … charged failure of a round, and then gives
// up: one attempt more than there are waits. (The least wait after 429, 502, 504 and timeouts, and a
// Retry-After, still hold.)
func Schedule(waits ...time.Duration) RetryPolicy { return schedule(waits) }

type schedule []time.Duration

func (s schedule) Next(failed int) (time.Duration, bool) {
	if failed < 1 || failed > len(s) {
		return 0, false
	}
	return max(0, s[failed-1]), true
}

func (s schedule) MaxAttempts() int { return len(s) + 1 }

// Exponential waits initial after the first failure and doubles from there up to limit, each wait
// spread by ±50 % and never above limit, and gives up after so many attempts; 0: never.
func Exponential(initial, limit time.Duration, attempts int) RetryPolicy {
	return exponential{initial: max(1, initial), limit: max(1, initial, limit), attempts: attempts}
}

type exponential struct {
	initial, limit time.Duration
	attempts       int
}

func (e exponential) Next(failed int) (time.Duration, bool) {
	if failed < 1 || e.attempts > 0 && failed >= e.attempts {
		return 0, false
	}
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(e.initial),
		backoff.WithMultiplier(2),
		backoff.WithMaxInterval(e.limit),
		backoff.WithMaxElapsedTime(0), // or it gives up after 15 minutes
	)
	wait := b.NextBackOff()
	// After 63 doublings every interval has reached its limit.
	for range min(failed-1, 63) {
		wait = b.NextBackOff()
	}
	return min(wait, e.limit), true // backoff jitters past its own limit
}

func (e exponential) MaxAttempts() int { return e.attempts }

// Jitter spreads the waits of a policy by up to the fraction in either direction: 0.2 is ±20 %.
func Jitter(policy RetryPolicy, fraction float64) RetryPolicy {
	j := jitter{RetryPolicy: policy, fraction: min(1, max(0, fraction))}
	if d, ok := policy.(decider); ok {
		return decidingJitter{j, d}
	}
	return j
}

type jitter struct {
	RetryPolicy
	fraction float64
}

func (j jitter) Next(failed int) (time.Duration, bool) {
	wait, again := j.RetryPolicy.Next(failed)
	return j.spread(wait), again
}

func (j jitter) spread(wait time.Duration) time.Duration {
	spread := 1 + j.fraction*(2*rand.Float64()-1)
	return time.Duration(min(float64(wait)*spread, math.MaxInt64/2))
}

func (j jitter) MaxAttempts() int { return maxAttempts(j.RetryPolicy) }

type decidingJitter struct {
	jitter
	decider
}

func (j decidingJitter) Decide(a DeliveryAttempt, failed int) (time.Duration, bool) {
	wait, again := j.decider.Decide(a, failed)
	return j.spread(wait), again
}

// decider is a RetryPolicy that looks at the attempt.
type decider interface {
	Decide(attempt DeliveryAttempt, failed int) (wait time.Duration, again bool)
}

// maxAttempts is 0 where the policy has no fixed number.
func maxAttempts(p RetryPolicy) int {
	if m, ok := p.(interface{ MaxAttempts() int }); ok {
		return max(0, m.MaxAttempts())
	}
	return 0
}

// retryPolicy is the endpoint's own schedule, or the dispatcher's policy.
func (d *Dispatcher) retryPolicy(e *Endpoint) RetryPolicy {
	if len(e.Retry) > 0 {
		return Jitter(Schedule(e.Retry...), 0.2)
	}
	return d.cfg.Retry
}

// decide says what follows from an attempt and notes it in the attempt's NextAttemptAt.
func (d *Dispatcher) decide(c Claim, e *Endpoint, a *DeliveryAttempt) Outcome {
	o := Outcome{DeliveryID: c.DeliveryID, Lease: c.Lease, Attempt: a, Failed: c.Failed, Deferrals: c.Deferrals}
	switch {
	case a.Status == AttemptSucceeded:
		o.State = StateSucceeded
		return o
	case a.ErrorCode == CodeEndpointGone:
		o.State, o.FailureCode = StateGone, CodeEndpointGone
		o.Failed++
		return o
	case a.ErrorCode == CodeDataArchived:
		o.State, o.FailureCode = StateCanceled, CodeDataArchived
		return o
	}
	if c.early(a) { // it was not its turn: it is tried again when it would have been
		o.State, o.Uncharged = StateScheduled, c.Uncharged
		o.NextAt = latest(c.DueAt, a.CompletedAt.Add(delay(0, a)).Truncate(time.Microsecond))
		a.NextAttemptAt = &o.NextAt
		return o
	}
	wait, again := d.charge(c, e, a, &o)
	if !again {
		o.State, o.FailureCode = StateExhausted, a.ErrorCode
		return o
	}
	o.State = StateScheduled
	o.NextAt = a.CompletedAt.Add(delay(wait, a)).Truncate(time.Microsecond)
	a.NextAttemptAt = &o.NextAt
	return o
}

// charge counts the failure against the round unless the receiver has no part in it, and asks the
// policy.
func (d *Dispatcher) charge(c Claim, e *Endpoint, a *DeliveryAttempt, o *Outcome) (time.Duration, bool) {
	policy := d.retryPolicy(e)
	if uncharged(a) && c.Uncharged < freeFailures {
		o.Uncharged = c.Uncharged + 1
		if a.Status == AttemptInterrupted {
			return 0, true
		}
		wait, again := policy.Next(c.Failed + 1)
		if !again {
			wait = throttleWait
		}
		return wait, true
	}
	o.Failed++
	if uncharged(a) {
		o.Uncharged = c.Uncharged
	}
	if p, ok := policy.(decider); ok {
		return p.Decide(*a, o.Failed)
	}
	return policy.Next(o.Failed)
}

// uncharged reports a failure that says nothing about the receiver.
func uncharged(a *DeliveryAttempt) bool {
	switch a.ErrorCode {
	case CodeNetworkRequestCanceled, CodeInterrupted, CodeProxyError, CodeInternalError, CodePayloadMissing:
		return true
	}
	return false
}

// delay applies the limits that hold for every policy.
func delay(wait time.Duration, a *DeliveryAttempt) time.Duration {
	wait = min(max(0, wait), maxRetryWait)
	if throttled(a) {
		wait = max(wait, throttleWait)
	}
	if a.RetryAfterMS != nil {
		hint := min(max(0, *a.RetryAfterMS), maxRetryAfter.Milliseconds())
		wait = max(wait, time.Duration(hint)*time.Millisecond)
	}
	return wait
}

func throttled(a *DeliveryAttempt) bool {
	if a.StatusCode == nil {
		return a.ErrorCode == CodeTimeout
	}
	switch *a.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}
