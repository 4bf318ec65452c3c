package webhook

import (
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/outhook/webhook/internal/http1"
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

type keyHandle = unique.Handle[connKey]

// pooledConn is a connection with whom it may serve. With HTTP/1.1 it is in the pool or in one
// request's hands; an HTTP/2 connection stays in the pool while it serves.
type pooledConn struct {
	h1 *http1.Conn // this one
	h2 *http.ClientConn

	raw    net.Conn
	remote string
	secure *tls.ConnectionState // nil: no TLS
	key    keyHandle
	born   time.Time

	// Guarded by the pool.
	idle         time.Time // since when nobody uses it
	pooled       bool
	newer, older *pooledConn // of all in the pool
}

// connPool keeps connections for later requests: a bounded number, for a bounded time.
type connPool struct {
	perKey int // negative: none
	total  int
	maxAge time.Duration

	mu    sync.Mutex
	conns map[keyHandle][]*pooledConn // the last one was used last
	n     int                         // in all
	ends  pooledConn                  // of the ring: older is who was used last, newer who was used first
	sweep *time.Timer                 // runs while there are any
}

func newConnPool(perKey int, maxAge time.Duration) *connPool {
	p := &connPool{perKey: perKey, total: maxIdleTotal, maxAge: maxAge, conns: make(map[keyHandle][]*pooledConn)}
	p.ends.newer, p.ends.older = &p.ends, &p.ends
	return p
}

// get returns a connection for one request, or nil.
func (p *connPool) get(key keyHandle, now time.Time) *pooledConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns[key]
	for i := len(conns) - 1; i >= 0; i-- {
		c := conns[i]
		switch {
		case p.spent(c, now):
			p.drop(c)
		case c.h1 != nil:
			p.remove(c)
			return c
		case c.h2.Reserve() == nil:
			p.unlink(c)
			p.link(c)
			return c
		}
	}
	return nil
}

// share lets further requests have a new HTTP/2 connection, too.
func (p *connPool) share(c *pooledConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perKey > 0 {
		p.insert(c, time.Now())
	}
}

// put takes a connection back after a request. Whatever cannot be used again is closed.
func (p *connPool) put(c *pooledConn) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.spent(c, now):
		p.drop(c)
	case c.pooled:
		c.idle = now
	case c.h2 != nil || p.perKey < 0:
		p.drop(c)
	default:
		p.insert(c, now)
	}
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
	return c.h2 != nil && c.h2.Err() != nil || now.Sub(c.born) >= p.maxAge
}

// drop takes a connection out of the pool and closes it, at once or with the last of its requests.
func (p *connPool) drop(c *pooledConn) {
	p.remove(c)
	if c.h1 != nil {
		c.h1.Close()
		return
	}
	c.h2.SetStateHook(func(conn *http.ClientConn) {
		if conn.InFlight() == 0 {
			go conn.Close()
		}
	})
	if c.h2.InFlight() == 0 {
		c.closeShared()
	}
}

// closeShared does not wait: TLS says goodbye first, and the peer can make that last.
func (c *pooledConn) closeShared() { go c.h2.Close() }

func (p *connPool) insert(c *pooledConn, now time.Time) {
	c.idle = now
	conns := append(p.conns[c.key], c)
	p.conns[c.key] = conns
	p.link(c)
	if len(conns) > p.perKey {
		p.drop(conns[0])
	}
	if p.n > p.total {
		p.drop(p.ends.newer)
	}
	if p.sweep == nil && p.n > 0 {
		p.sweep = time.AfterFunc(p.sweepEvery(), p.sweepIdle)
	}
}

// link puts a connection where those used last are.
func (p *connPool) link(c *pooledConn) {
	c.pooled = true
	c.newer, c.older = &p.ends, p.ends.older
	c.older.newer, p.ends.older = c, c
	p.n++
}

func (p *connPool) unlink(c *pooledConn) {
	c.newer.older, c.older.newer = c.older, c.newer
	c.newer, c.older, c.pooled = nil, nil, false
	p.n--
}

func (p *connPool) remove(c *pooledConn) {
	if !c.pooled {
		return
	}
	p.unlink(c)
	conns := p.conns[c.key]
	if last := len(conns) - 1; conns[last] == c {
		conns[last] = nil
		conns = conns[:last]
	} else if i := slices.Index(conns, c); i >= 0 {
		conns = slices.Delete(conns, i, i+1)
	}
	p.conns[c.key] = conns // also if none is left: the next one is on its way back, or sweepIdle tidies up
}

// resting reports whether a connection of the pool serves nobody.
func (c *pooledConn) resting() bool { return c.h1 != nil || c.h2.InFlight() == 0 }

func (p *connPool) sweepEvery() time.Duration { return min(p.maxAge, maxIdleTime) / 2 }

// sweepIdle closes what was idle for long, became too old, or was closed by its peer.
func (p *connPool) sweepIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for key, conns := range p.conns {
		for _, c := range slices.Clone(conns) {
			if p.spent(c, now) || c.resting() && now.Sub(c.idle) >= maxIdleTime || c.h1 != nil && !c.h1.Quiet() {
				p.drop(c)
			}
		}
		if len(p.conns[key]) == 0 {
			delete(p.conns, key)
		}
	}
	p.sweep = nil
	if p.n > 0 {
		p.sweep = time.AfterFunc(p.sweepEvery(), p.sweepIdle)
	}
}
