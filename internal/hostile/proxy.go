package hostile

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ProxyMode is how an egress proxy behaves.
type ProxyMode int

const (
	ProxyWorks   ProxyMode = iota
	ProxyRefuses           // every target
	ProxySilent            // says nothing, ever
	ProxyBabbles           // sends more than its answer
)

// Proxy is an egress proxy that takes every name for 127.0.0.1. With a user it wants that login.
type Proxy struct {
	*Server
	Targets chan string // host:port asked for, as many as fit
	user    *url.Userinfo
}

// StartProxy starts a proxy that speaks CONNECT ("http") or SOCKS 5 ("socks5").
func (l *Lab) StartProxy(scheme string, mode ProxyMode, user *url.Userinfo) *Proxy {
	l.t.Helper()
	p := &Proxy{Targets: make(chan string, 16), user: user}
	serve := p.connect
	if strings.HasPrefix(scheme, "socks") {
		serve = p.socks
	}
	p.Server = l.Start(Mode{Name: scheme + "-proxy", serve: func(c *conversation) {
		if mode == ProxySilent {
			c.hang()
			return
		}
		serve(c, mode)
	}})
	return p
}

// URL is the proxy's, login included.
func (p *Proxy) URL(scheme string) *url.URL {
	return &url.URL{Scheme: scheme, User: p.user, Host: p.Addr()}
}

func (p *Proxy) connect(c *conversation, mode ProxyMode) {
	r, err := http.ReadRequest(c.in)
	if err != nil || r.Method != http.MethodConnect {
		return
	}
	p.note(r.Host)
	switch {
	case mode == ProxyRefuses:
		_ = c.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	case p.user != nil && r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.user.String())):
		_ = c.say("HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n")
	case mode == ProxyBabbles:
		_ = c.say("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
		c.hang()
	default:
		p.tunnel(c, r.Host, "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
	}
}

func (p *Proxy) socks(c *conversation, mode ProxyMode) {
	method := byte(0)
	if p.user != nil {
		method = 2
	}
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return
	}
	if _, err := c.in.Discard(int(head[1])); err != nil {
		return
	}
	_ = c.say(string([]byte{5, method}))
	if p.user != nil && !p.socksLogin(c) {
		_ = c.say("\x01\x01")
		return
	}
	host, err := socksTarget(c.in)
	if err != nil {
		return
	}
	p.note(host)
	if mode == ProxyRefuses {
		_ = c.say("\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")
		return
	}
	p.tunnel(c, host, "\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
}

func (p *Proxy) socksLogin(c *conversation) bool {
	name, err1 := socksString(c.in, 1)
	password, err2 := socksString(c.in, 0)
	want, _ := p.user.Password()
	if err1 != nil || err2 != nil || name != p.user.Username() || password != want {
		return false
	}
	return c.say("\x01\x00") == nil
}

// socksString reads a string with its length in front, after skip bytes.
func socksString(in *bufio.Reader, skip int) (string, error) {
	if _, err := in.Discard(skip); err != nil {
		return "", err
	}
	size, err := in.ReadByte()
	if err != nil {
		return "", err
	}
	b := make([]byte, size)
	_, err = io.ReadFull(in, b)
	return string(b), err
}

func socksTarget(in *bufio.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return "", err
	}
	host := ""
	switch head[3] {
	case 3:
		name, err := socksString(in, 0)
		if err != nil {
			return "", err
		}
		host = name
	default:
		ip := make(net.IP, map[byte]int{1: 4, 4: 16}[head[3]])
		if _, err := io.ReadFull(in, ip); err != nil {
			return "", err
		}
		host = ip.String()
	}
	var port [2]byte
	_, err := io.ReadFull(in, port[:])
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))), err
}

// tunnel joins the client with the target's port on this machine.
func (p *Proxy) tunnel(c *conversation, target, yes, no string) {
	_, port, _ := net.SplitHostPort(target)
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		_ = c.say(no)
		return
	}
	defer conn.Close()
	if c.say(yes) != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, conn)
		c.Close()
	}()
	_, _ = io.Copy(conn, c.in)
	conn.Close()
	<-back
}

func (p *Proxy) note(target string) {
	select {
	case p.Targets <- target:
	default:
	}
}
