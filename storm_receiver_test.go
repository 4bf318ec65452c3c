package webhook

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// StormReceiver is the receivers of a storm, in a process of their own: what they compute is not the sender's.
type StormReceiver struct {
	tb  testing.TB
	out *bufio.Reader
	in  io.Writer
}

// Kinds of receivers.
const (
	StormTimed = "timed" // takes down how long ago the body says that it was sent, in Unix nanoseconds
	StormQuick = "quick" // answers
	StormHangs = "hangs" // does not
)

func NewStormReceiver(tb testing.TB) *StormReceiver {
	out, in := receiverProcess(tb, "storm")
	return &StormReceiver{tb, out, in}
}

func (r *StormReceiver) ask(question string) string {
	_, err := io.WriteString(r.in, question+"\n")
	require.NoError(r.tb, err)
	return line(r.tb, r.out)
}

// Listen returns the URL of a new receiver.
func (r *StormReceiver) Listen(kind string) string { return "http://" + r.ask(kind) + "/hook" }

// Take waits for n receipts, half a minute at most, and returns how long each took, with any beyond them.
func (r *StormReceiver) Take(n int) (delays []time.Duration) {
	for _, text := range strings.Fields(r.ask(strconv.Itoa(n))) {
		ns, err := strconv.ParseInt(text, 10, 64)
		require.NoError(r.tb, err)
		delays = append(delays, time.Duration(ns))
	}
	return delays
}

// receipts are what the timed receivers took down.
type receipts struct {
	mu     sync.Mutex
	grown  *sync.Cond
	delays []int64
}

func (r *receipts) add(body io.Reader) bool {
	now := time.Now().UnixNano()
	text, err := io.ReadAll(body)
	sent, parsed := strconv.ParseInt(string(text), 10, 64)
	if err == nil && parsed == nil { // it is lacking otherwise, and the run fails
		r.mu.Lock()
		defer r.mu.Unlock()
		r.delays = append(r.delays, now-sent)
		r.grown.Signal()
	}
	return true
}

// take waits for n, or for half a minute.
func (r *receipts) take(n int) []int64 {
	late := time.AfterFunc(30*time.Second, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		n = 0
		r.grown.Signal()
	})
	defer late.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.delays) < n {
		r.grown.Wait()
	}
	delays := r.delays
	r.delays = nil
	return delays
}

// receiveStorm is the process of a StormReceiver.
func receiveStorm() {
	got := &receipts{}
	got.grown = sync.NewCond(&got.mu)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if n, err := strconv.Atoi(in.Text()); err == nil {
			fmt.Println(strings.Trim(fmt.Sprint(got.take(n)), "[]"))
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		switch in.Text() {
		case StormTimed:
			go serve(listener, got.add)
		case StormQuick:
			go serve(listener, discard)
		case StormHangs:
			go serve(listener, func(body io.Reader) bool { discard(body); return false })
		}
		fmt.Println(listener.Addr())
	}
}
