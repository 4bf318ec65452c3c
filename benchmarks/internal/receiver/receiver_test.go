package receiver_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/benchmarks/internal/load"
	"github.com/outhook/webhook/benchmarks/internal/receiver"
)

// control is the other end of a receiver's commands.
type control struct {
	t       *testing.T
	address string
	counter *load.Counter
	in      io.Writer
	out     *bufio.Reader
}

func start(t *testing.T) *control {
	path := filepath.Join(t.TempDir(), "arrived")
	counter, err := load.OpenCounter(path)
	require.NoError(t, err)
	inRead, in := io.Pipe()
	out, outWrite := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- receiver.Serve(path, inRead, outWrite) }()
	c := &control{t: t, counter: counter, in: in, out: bufio.NewReader(out)}
	line, err := c.out.ReadString('\n')
	require.NoError(t, err)
	c.address = strings.TrimSpace(line)
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		require.NoError(t, <-ended)
	})
	return c
}

func (c *control) report() (s receiver.Summary) {
	_, err := io.WriteString(c.in, "report\n")
	require.NoError(c.t, err)
	line, err := c.out.ReadBytes('\n')
	require.NoError(c.t, err)
	require.NoError(c.t, json.Unmarshal(line, &s))
	return s
}

func request(n int, warm bool) string {
	return fmt.Sprintf("POST /hook HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: %d\r\n\r\n%s", load.PayloadBytes, load.Payload(n, warm))
}

func TestReceiver(t *testing.T) {
	c := start(t)
	conn, err := net.Dial("tcp", c.address)
	require.NoError(t, err)
	defer conn.Close()
	// Two at once, a warm-up, one again, and one in pieces.
	text := request(0, false) + request(1, false) + request(2, true) + request(1, false) + request(700, false)
	for piece := range 3 {
		at := len(text) - 900
		_, err = io.WriteString(conn, []string{text[:at], text[at : at+450], text[at+450:]}[piece])
		require.NoError(t, err)
	}
	answers := bufio.NewReader(conn)
	for range 5 {
		resp, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.True(t, json.Valid(body))
	}
	require.Equal(t, 5, c.counter.Load())
	s := c.report()
	require.Equal(t, 3, s.Arrived)
	require.Equal(t, 1, s.Repeated)
	require.Len(t, s.Delays, 3)
	require.Positive(t, s.Delays[0])
	require.Zero(t, c.report().Arrived, "a report begins anew")
}

func TestReceiverAnswerHas590Bytes(t *testing.T) {
	c := start(t)
	conn, err := net.Dial("tcp", c.address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request(0, false))
	require.NoError(t, err)
	answer := make([]byte, 591)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	n, _ := io.ReadFull(conn, answer)
	require.Equal(t, 590, n)
}

func TestReceiverHangs(t *testing.T) {
	c := start(t)
	conn, err := net.Dial("tcp", c.address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, strings.Replace(request(0, false), "/hook", receiver.HangPath+"/3", 1))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, c.counter.Load())
	require.Zero(t, c.report().Arrived)
}

func TestReceiverRefusesWhatItDoesNotKnow(t *testing.T) {
	var out bytes.Buffer
	err := receiver.Serve(filepath.Join(t.TempDir(), "arrived"), strings.NewReader("dance\n"), &out)
	require.ErrorContains(t, err, "unknown command")
}
