package webhook

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
)

// The words of SOCKS 5, RFC 1928 and RFC 1929.
const (
	socksVersion     = 5
	socksNoAuth      = 0
	socksPassword    = 2
	socksConnect     = 1
	socksIPv4        = 1
	socksName        = 3
	socksIPv6        = 4
	socksPasswordVer = 1
)

var socksReplies = map[byte]string{
	1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
	5: "connection refused", 6: "TTL expired", 7: "command not supported", 8: "address type not supported",
}

// socksTunnel asks a SOCKS 5 proxy for a connection to addr. Names are the proxy's to resolve.
func socksTunnel(conn net.Conn, proxy *url.URL, addr string) error {
	request, err := socksRequest(addr)
	if err != nil {
		return err
	}
	if err := socksGreet(conn, proxy.User); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return socksReply(conn)
}

func socksRequest(addr string) ([]byte, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, err
	}
	b := []byte{socksVersion, socksConnect, 0}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && ip.Unmap().Is4():
		b = append(append(b, socksIPv4), ip.Unmap().AsSlice()...)
	case err == nil:
		b = append(append(b, socksIPv6), ip.AsSlice()...)
	case len(host) > 255:
		return nil, errors.New("host is too long for SOCKS")
	default:
		b = append(append(b, socksName, byte(len(host))), host...)
	}
	return append(b, byte(port>>8), byte(port)), nil
}

// socksGreet agrees on how we show who we are.
func socksGreet(conn net.Conn, user *url.Userinfo) error {
	method := byte(socksNoAuth)
	if user != nil {
		method = socksPassword
	}
	if _, err := conn.Write([]byte{socksVersion, 1, method}); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != socksVersion || answer[1] != method {
		return errors.New("proxy does not speak SOCKS 5 or wants another kind of login")
	}
	if user == nil {
		return nil
	}
	return socksLogin(conn, user)
}

func socksLogin(conn net.Conn, user *url.Userinfo) error {
	name := user.Username()
	password, _ := user.Password()
	if name == "" || len(name) > 255 || len(password) > 255 {
		return errors.New("user name or password has a length that SOCKS does not allow")
	}
	b := append([]byte{socksPasswordVer, byte(len(name))}, name...)
	b = append(append(b, byte(len(password))), password...)
	if _, err := conn.Write(b); err != nil {
		return err
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[1] != 0 {
		return errors.New("proxy refused the user name or password")
	}
	return nil
}

func socksReply(conn net.Conn) error {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	if head[0] != socksVersion {
		return errors.New("proxy does not speak SOCKS 5")
	}
	if head[1] != 0 {
		return fmt.Errorf("proxy refused the connection: %s", orDefault(socksReplies[head[1]], "unknown reason"))
	}
	size, ok := map[byte]int{socksIPv4: 4, socksIPv6: 16}[head[3]]
	if head[3] == socksName {
		var n [1]byte
		if _, err := io.ReadFull(conn, n[:]); err != nil {
			return err
		}
		size, ok = int(n[0]), true
	}
	if !ok {
		return errors.New("proxy answered with an unknown address type")
	}
	_, err := io.CopyN(io.Discard, conn, int64(size)+2)
	return err
}
