// Package receiver is the other end of every contender: a process that answers POSTs as cheaply as it can, and
// keeps count.
package receiver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

// HangPath is of requests that are never answered.
const HangPath = "/hang"

// answer has 590 bytes, as a small JSON answer of a real receiver with its headers has.
var answer = func() []byte {
	const bodyBytes = 421
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\n" +
		"Server: receiver\r\nX-Request-Id: 01jv8m7qfj6xj9gkz7a4s2h8ey\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", bodyBytes)
	const begin, end = `{"ok":true,"note":"`, `"}`
	return []byte(head + begin + strings.Repeat(".", bodyBytes-len(begin)-len(end)) + end)
}()

// Summary is what arrived since it was last asked, warm-ups left out.
type Summary struct {
	Arrived  int // distinct payloads
	Repeated int
	Delays   []time.Duration // from Payload to receipt, in no order; only if they were asked for
	CPU      time.Duration   // that the receiver spent, warm-ups included
}

// Receiver counts what arrives.
type Receiver struct {
	listener net.Listener
	counter  *load.Counter

	mu     sync.Mutex
	seen   []uint64 // a bit for each payload's number
	result Summary
	cpu    time.Duration
}

// Serve listens on loopback and obeys commands, one a line: "report" is answered with a Summary in JSON. The
// first line that it writes is its address. It returns when commands end.
func Serve(counterFile string, commands io.Reader, out io.Writer) error {
	counter, err := load.OpenCounter(counterFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, counter.Close())
	}
	r := &Receiver{listener: l, counter: counter}
	go r.accept()
	fmt.Fprintln(out, l.Addr())
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		if lines.Text() != "report" {
			return fmt.Errorf("receiver: unknown command %q", lines.Text())
		}
		s, err := r.report()
		if err == nil {
			err = json.NewEncoder(out).Encode(s)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(lines.Err(), l.Close())
}

func (r *Receiver) report() (Summary, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := load.OwnCPU()
	s := r.result
	s.CPU, r.cpu = now-r.cpu, now
	r.seen, r.result = nil, Summary{}
	return s, err
}

func (r *Receiver) accept() {
	for {
		c, err := r.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			// Senders come and go; whether all arrived is told by the counts.
			_ = r.serve(c)
		}()
	}
}

// serve answers the requests of one connection.
func (r *Receiver) serve(c net.Conn) error {
	buf := make([]byte, 16<<10)
	have := 0
	for {
		n, err := c.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		for {
			used, body, hang, err := request(buf[:have])
			if err != nil {
				return err
			}
			if used == 0 {
				break
			}
			if !hang {
				if err := r.note(body); err != nil {
					return err
				}
				if _, err := c.Write(answer); err != nil {
					return err
				}
			}
			have = copy(buf, buf[used:have])
		}
		if have == len(buf) {
			return errors.New("request too large")
		}
	}
}

var (
	headEnd    = []byte("\r\n\r\n")
	lengthName = []byte("\r\ncontent-length:")
)

// request finds a whole request at the beginning of b. used is 0 while there is none.
func request(b []byte) (used int, body []byte, hang bool, err error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return 0, nil, false, nil
	}
	head := b[:end+2]
	length, err := contentLength(head)
	if err != nil {
		return 0, nil, false, err
	}
	used = end + len(headEnd) + length
	if used > len(b) {
		return 0, nil, false, nil
	}
	return used, b[end+len(headEnd) : used], bytes.HasPrefix(head, []byte("POST "+HangPath)), nil
}

func contentLength(head []byte) (int, error) {
	at := bytes.Index(head, []byte("\r\nContent-Length:"))
	if at < 0 {
		if at = bytes.Index(bytes.ToLower(head), lengthName); at < 0 {
			return 0, errors.New("request without Content-Length")
		}
	}
	value := head[at+len(lengthName):]
	value = value[:bytes.IndexByte(value, '\r')]
	return strconv.Atoi(string(bytes.TrimSpace(value)))
}

// note counts a payload.
func (r *Receiver) note(body []byte) error {
	now := time.Now()
	n, warm, at, err := load.Parse(body)
	if err != nil {
		return err
	}
	if !warm {
		r.mu.Lock()
		for n/64 >= len(r.seen) {
			r.seen = append(r.seen, 0)
		}
		if bit := uint64(1) << (n % 64); r.seen[n/64]&bit != 0 {
			r.result.Repeated++
		} else {
			r.seen[n/64] |= bit
			r.result.Arrived++
			r.result.Delays = append(r.result.Delays, now.Sub(at))
		}
		r.mu.Unlock()
	}
	r.counter.Add(1)
	return nil
}
