package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// DNS is a DNS server on loopback, over UDP and TCP. Names below "test." have a meaning:
//
//	nxdomain.test  there is no such name      servfail.test  the server fails
//	silent.test    no answer ever             tls.test       127.0.0.1
//	*.addr.test    set by [DNS.Set]           any other      127.0.0.1
type DNS struct {
	udp  net.PacketConn
	tcp  net.Listener
	done sync.WaitGroup

	mu      sync.Mutex
	answers map[string][][]netip.Addr // the last one stays
	asked   map[string]int
}

func dnsModes() []Mode {
	named := func(name, host, code string) Mode {
		return Mode{Name: name, Code: code, start: func(l *Lab, s *Server) {
			startRefused(l, s) // nobody gets that far
			s.URL = "http://" + host + "/hook"
		}}
	}
	return []Mode{
		named("dns-nxdomain", "nxdomain.test", "NOT_FOUND"),
		named("dns-servfail", "servfail.test", "DNS_LOOKUP_FAILED"),
		named("dns-timeout", "silent.test", "DNS_LOOKUP_FAILED"),
	}
}

const (
	typeA    = 1
	typeAAAA = 28

	rcodeServFail = 2
	rcodeNXDomain = 3
)

func newDNS(t testing.TB) *DNS {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{udp: udp, tcp: tcp, answers: map[string][][]netip.Addr{}, asked: map[string]int{}}
	d.done.Add(2)
	go d.serveUDP()
	go d.serveTCP()
	return d
}

func (d *DNS) close() {
	d.udp.Close()
	d.tcp.Close()
	d.done.Wait()
}

// Set makes host resolve to addrs. Called again, it appends what later look-ups get: rebinding.
func (d *DNS) Set(host string, addrs ...string) {
	var parsed []netip.Addr
	for _, a := range addrs {
		parsed = append(parsed, netip.MustParseAddr(a))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := strings.TrimSuffix(host, ".") + "."
	d.answers[key] = append(d.answers[key], parsed)
}

// Resolver asks this server, and waits at most a second for each answer.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := d.udp.LocalAddr()
		if strings.HasPrefix(network, "tcp") {
			addr = d.tcp.Addr()
		}
		conn, err := new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(network, "tcp") {
			return impatientStream{conn}, nil
		}
		return impatient{conn.(*net.UDPConn)}, nil
	}}
}

const patience = time.Second

// impatient shortens the resolver's time-out of 5 s, which cannot be set. It stays a PacketConn, by
// which the resolver knows that messages have no length in front.
type impatient struct{ *net.UDPConn }

func (c impatient) SetDeadline(t time.Time) error { return c.UDPConn.SetDeadline(sooner(t)) }

type impatientStream struct{ net.Conn }

func (c impatientStream) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(sooner(t)) }

func sooner(t time.Time) time.Time {
	if limit := time.Now().Add(patience); t.After(limit) {
		return limit
	}
	return t
}

func (d *DNS) serveUDP() {
	defer d.done.Done()
	buf := make([]byte, 1500)
	for {
		n, from, err := d.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := d.answer(buf[:n]); reply != nil {
			_, _ = d.udp.WriteTo(reply, from)
		}
	}
}

func (d *DNS) serveTCP() {
	defer d.done.Done()
	for {
		conn, err := d.tcp.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_ = d.answerStream(conn)
		conn.Close()
	}
}

func (d *DNS) answerStream(conn net.Conn) error {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return err
	}
	reply := d.answer(query)
	if reply == nil {
		return errors.New("hostile: silent")
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	return err
}

// answer returns the reply to a query with one question; nil for none.
func (d *DNS) answer(query []byte) []byte {
	name, end, ok := question(query)
	if !ok {
		return nil
	}
	host := strings.ToLower(name)
	if strings.HasPrefix(host, "silent.test.") {
		return nil
	}
	rcode := byte(0)
	var addrs []netip.Addr
	switch {
	case strings.HasPrefix(host, "nxdomain.test."), !strings.HasSuffix(host, ".test."):
		rcode = rcodeNXDomain
	case strings.HasPrefix(host, "servfail.test."):
		rcode = rcodeServFail
	default:
		addrs = d.lookup(host, binary.BigEndian.Uint16(query[end-4:]))
	}
	return reply(query, end, rcode, addrs)
}

func reply(query []byte, end int, rcode byte, addrs []netip.Addr) []byte {
	b := append([]byte(nil), query[:end]...)
	b[2], b[3] = 0x84|query[2]&1, 0x80|rcode // an authoritative answer
	binary.BigEndian.PutUint16(b[4:], 1)
	binary.BigEndian.PutUint16(b[6:], uint16(len(addrs)))
	clear(b[8:12])
	for _, addr := range addrs {
		kind := uint16(typeAAAA)
		if addr.Is4() {
			kind = typeA
		}
		b = append(b, 0xc0, 12) // the name of the question
		b = binary.BigEndian.AppendUint16(b, kind)
		b = append(b, 0, 1, 0, 0, 0, 0) // class IN, TTL 0
		b = binary.BigEndian.AppendUint16(b, uint16(addr.BitLen()/8))
		b = append(b, addr.AsSlice()...)
	}
	return b
}

// question returns the name asked for and where the question ends.
func question(query []byte) (name string, end int, ok bool) {
	if len(query) < 12 || binary.BigEndian.Uint16(query[4:]) != 1 {
		return "", 0, false
	}
	var labels strings.Builder
	at := 12
	for at < len(query) && query[at] != 0 {
		size := int(query[at])
		if size > 63 || at+1+size > len(query) {
			return "", 0, false
		}
		labels.Write(query[at+1 : at+1+size])
		labels.WriteByte('.')
		at += 1 + size
	}
	end = at + 5 // the root label, type and class
	return labels.String(), end, end <= len(query)
}

// lookup answers the A and the AAAA question of one look-up from the same entry.
func (d *DNS) lookup(host string, kind uint16) []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	answers := d.answers[host]
	if answers == nil {
		answers = [][]netip.Addr{{netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
	}
	key := host + map[uint16]string{typeA: "A", typeAAAA: "AAAA"}[kind]
	i := min(d.asked[key], len(answers)-1)
	d.asked[key]++
	var addrs []netip.Addr
	for _, a := range answers[i] {
		if a.Is4() == (kind == typeA) && (kind == typeA || kind == typeAAAA) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
