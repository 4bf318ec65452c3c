package webhook

import (
	"container/list"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxIdleTotal = 1024 // connections kept over all hosts
	maxIdleTime  = 90 * time.Second
)

// connKey tells connections apart that must not carry each other's requests. One client has one set of
// roots, and each has a pool of its own.
type connKey struct {
	scheme, addr string
	rules        string
}

// pooledConn is a connection with whom it may serve. With HTTP/1.1 it is in the pool or in one
// request's hands; an HTTP/2 connection stays in the pool while it serves.
type pooledConn struct {
	*http.ClientConn
	raw     net.Conn
	key     connKey
	born    time.Time
	shared  bool          // HTTP/2
	idle    time.Time     // since when nobody uses it, guarded by the pool
	element *list.Element // in the pool's recent; nil: not in the pool
}

// connPool keeps connections for later requests: a bounded number, for a bounded time.
type connPool struct {
	perKey int // negative: none
	total  int
	maxAge time.Duration

	mu     sync.Mutex
	conns  map[connKey][]*pooledConn // the last one was used last
	recent *list.List                // of all in conns; the front was used last
	sweep  *time.Timer               // runs while there are any
}

func newConnPool(perKey int, maxAge time.Duration) *connPool {
	return &connPool{perKey: perKey, total: maxIdleTotal, maxAge: maxAge, conns: make(map[connKey][]*pooledConn), recent: list.New()}
}

// get returns a connection with a request reserved on it, or nil.
func (p *connPool) get(key connKey) *pooledConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns[key]
	for i := len(conns) - 1; i >= 0; i-- {
		c := conns[i]
		if p.spent(c, time.Now()) {
			p.drop(c)
			continue
		}
		if c.Reserve() != nil {
			continue // an HTTP/2 connection that is full
		}
		if c.shared {
			p.recent.MoveToFront(c.element)
		} else {
			p.remove(c)
		}
		return c
	}
	return nil
}

// add takes in a new connection, for one request that it reserves. It fails if the server has closed
// the connection already.
func (p *connPool) add(conn *http.ClientConn, raw net.Conn, key connKey) (*pooledConn, error) {
	c := &pooledConn{ClientConn: conn, raw: raw, key: key, born: time.Now(), shared: conn.Available() > 1}
	if err := c.Reserve(); err != nil {
		c.discard()
		return nil, fmt.Errorf("webhook: connection closed before its first request: %w", readable(err))
	}
	if c.shared && p.perKey > 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.insert(c)
	}
	return c, nil
}

// put takes a connection back after a request. Whatever cannot be used again is closed.
func (p *connPool) put(c *pooledConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.idle = time.Now()
	if p.spent(c, c.idle) {
		p.drop(c)
		return
	}
	if c.element != nil {
		return
	}
	if c.Available() == 0 || c.shared || p.perKey < 0 {
		p.drop(c)
		return
	}
	p.insert(c)
}

// failed takes a connection back after a request that failed. An HTTP/2 connection serves others to
// their ends, but gets no new ones: if its peer is gone without a word, each would wait in vain.
func (p *connPool) failed(c *pooledConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(c)
}

func (p *connPool) closeIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conns := range p.conns {
		for _, c := range slices.Clone(conns) {
			p.drop(c)
		}
	}
}

// spent reports whether a connection must not serve another request.
func (p *connPool) spent(c *pooledConn, now time.Time) bool {
	return c.Err() != nil || now.Sub(c.born) >= p.maxAge
}

// drop takes a connection out of the pool and closes it, at once or with the last of its requests.
func (p *connPool) drop(c *pooledConn) {
	p.remove(c)
	if !c.shared {
		c.discard()
		return
	}
	c.SetStateHook(func(conn *http.ClientConn) {
		if conn.InFlight() == 0 {
			go conn.Close()
		}
	})
	if c.InFlight() == 0 {
		c.discard()
	}
}

// discard does not wait: TLS says goodbye first, and the peer can make that last.
func (c *pooledConn) discard() { go c.Close() }

func (p *connPool) insert(c *pooledConn) {
	c.idle = time.Now()
	p.conns[c.key] = append(p.conns[c.key], c)
	c.element = p.recent.PushFront(c)
	if conns := p.conns[c.key]; len(conns) > p.perKey {
		p.drop(conns[0])
	}
	if p.recent.Len() > p.total {
		p.drop(p.recent.Back().Value.(*pooledConn))
	}
	if p.sweep == nil && p.recent.Len() > 0 {
		p.sweep = time.AfterFunc(p.sweepEvery(), p.sweepIdle)
	}
}

func (p *connPool) remove(c *pooledConn) {
	if c.element == nil {
		return
	}
	p.recent.Remove(c.element)
	c.element = nil
	conns := p.conns[c.key]
	if i := slices.Index(conns, c); i >= 0 {
		conns = slices.Delete(conns, i, i+1)
	}
	if len(conns) == 0 {
		delete(p.conns, c.key)
		return
	}
	p.conns[c.key] = conns
}

func (p *connPool) sweepEvery() time.Duration { return min(p.maxAge, maxIdleTime) / 2 }

// sweepIdle closes what was idle for long or became too old.
func (p *connPool) sweepIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, conns := range p.conns {
		for _, c := range slices.Clone(conns) {
			resting := c.InFlight() == 0 && now.Sub(c.idle) >= maxIdleTime
			if resting || p.spent(c, now) {
				p.drop(c)
			}
		}
	}
	p.sweep = nil
	if p.recent.Len() > 0 {
		p.sweep = time.AfterFunc(p.sweepEvery(), p.sweepIdle)
	}
}
