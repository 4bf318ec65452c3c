package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// exchange goes with one attempt's request, in its context, through whatever client makes it. It
// brings the rules of the endpoint's connections to a [Client], and brings back what was seen.
// Clients call its hooks from goroutines of theirs, even after they returned.
type exchange struct {
	start   time.Time // on the dispatcher's clock
	began   time.Time // the same moment on the monotonic one
	host    string    // that the rules are for
	rules   *connRules
	body    []byte // for a re-send
	resends atomic.Int32

	dnsStart, dnsDone         mark
	connectStart, connectDone mark
	tlsStart, tlsDone         mark
	connected                 mark // or found a kept connection
	wrote, firstByte          mark
	responded, completed      mark
	remote                    atomic.Pointer[string]

	kept *evidence
}

// evidence is what a record points at, in one piece.
type evidence struct {
	status               int
	preview              string
	retryAfterMS         int64
	delivered, responded time.Time
	timings              Timings
}

// mark is when something happened, since the exchange began.
type mark struct{ v atomic.Int64 } // nanoseconds plus one; 0: not yet

func (m *mark) set(x *exchange)   { m.v.Store(int64(time.Since(x.began)) + 1) }
func (m *mark) first(x *exchange) { m.v.CompareAndSwap(0, int64(time.Since(x.began))+1) }

func (m *mark) unless(err error, x *exchange) {
	if err == nil {
		m.set(x)
	}
}

func (m *mark) get() (time.Duration, bool) {
	v := m.v.Load()
	return time.Duration(max(v-1, 0)), v != 0
}

type exchangeKey struct{}

func newExchange(now time.Time, t *target) *exchange {
	x := new(exchange)
	x.begin(now, t)
	return x
}

func (x *exchange) begin(now time.Time, t *target) {
	x.start, x.began, x.rules, x.kept = now, time.Now(), &t.rules, new(evidence)
	if t.url != nil {
		x.host = t.url.Host
	}
}

// attach returns a context that carries the exchange and reports to it.
func (x *exchange) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, exchangeKey{}, x), x.trace())
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// Wrote and FirstByte are what connections of our own report.
func (x *exchange) Wrote()     { x.wrote.set(x) }
func (x *exchange) FirstByte() { x.firstByte.set(x) }

func (x *exchange) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:     func(httptrace.DNSStartInfo) { x.dnsStart.first(x) },
		DNSDone:      func(info httptrace.DNSDoneInfo) { x.dnsDone.unless(info.Err, x) },
		ConnectStart: func(_, _ string) { x.connectStart.first(x) },
		ConnectDone: func(_, addr string, err error) {
			if !errors.Is(err, ErrBlockedAddress) {
				x.remote.Store(&addr)
			}
			x.connectDone.unless(err, x)
		},
		TLSHandshakeStart: func() { x.tlsStart.first(x) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { x.tlsDone.unless(err, x) },
		GotConn: func(info httptrace.GotConnInfo) {
			x.connected.set(x)
			if info.Conn != nil {
				addr := info.Conn.RemoteAddr().String()
				x.remote.Store(&addr)
			}
		},
		WroteRequest:         func(info httptrace.WroteRequestInfo) { x.wrote.unless(info.Err, x) },
		GotFirstResponseByte: func() { x.firstByte.set(x) },
	}
}

// phase says what was going on when the exchange ended.
func (x *exchange) phase() string {
	happened := func(m *mark) bool { _, ok := m.get(); return ok }
	switch {
	case happened(&x.wrote):
		return "while waiting for the response"
	case happened(&x.tlsStart) && !happened(&x.tlsDone):
		return "during the TLS handshake"
	case happened(&x.connectStart) && !happened(&x.connectDone):
		return "while connecting"
	case happened(&x.dnsStart) && !happened(&x.dnsDone):
		return "while looking up the host"
	case happened(&x.connected):
		return "while sending the request"
	}
	return "before the request was sent"
}

// at is the dispatcher's clock that long after the start, read by the monotonic one: the instants of
// one attempt never run backwards.
func (x *exchange) at(since time.Duration) time.Time { return micros(x.start.Add(since)) }

func (x *exchange) instant(m *mark, at *time.Time) *time.Time {
	since, ok := m.get()
	if !ok {
		return nil
	}
	*at = x.at(since)
	return at
}

// report puts on the record what the exchange saw.
func (x *exchange) report(a *DeliveryAttempt) {
	x.completed.first(x)
	took, _ := x.completed.get()
	a.CompletedAt, a.DurationMS = x.at(took), took.Milliseconds()
	if a.StatusCode != nil {
		a.RespondedAt = x.instant(&x.responded, &x.kept.responded)
	}
	a.DeliveredAt = x.instant(&x.wrote, &x.kept.delivered)
	if a.DeliveredAt == nil {
		a.DeliveredAt = a.RespondedAt
	}
	if remote := x.remote.Load(); remote != nil {
		a.RemoteAddr = *remote
	}
	a.Resends = int(x.resends.Load())
	a.Timings = x.timings()
}

// timings is nil where the client told of no phase.
func (x *exchange) timings() *Timings {
	t := &x.kept.timings
	*t = Timings{
		DNSMS:     x.between(&x.dnsStart, &x.dnsDone),
		ConnectMS: x.between(&x.connectStart, &x.connectDone),
		TLSMS:     x.between(&x.tlsStart, &x.tlsDone),
		TTFBMS:    x.between(&x.wrote, &x.firstByte),
	}
	_, wrote := x.wrote.get()
	if *t == (Timings{}) && !wrote {
		return nil
	}
	return t
}

// between is how long a phase took. One that did not succeed lasted until the attempt's end.
func (x *exchange) between(from, to *mark) float64 {
	start, ok := from.get()
	if !ok {
		return 0
	}
	end, ok := to.get()
	if !ok {
		end, _ = x.completed.get()
	}
	return max(0, float64((end-start).Microseconds())/1000)
}
