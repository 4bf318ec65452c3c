package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// receiverEnv makes the test binary a receiver, until its standard input ends: one that prints its URL and
// certificate, or those of a storm. So the CPU of a benchmark's process is the sender's alone.
const receiverEnv = "OUTHOOK_TEST_RECEIVER"

func TestMain(m *testing.M) {
	switch kind := os.Getenv(receiverEnv); kind {
	case "":
		os.Exit(m.Run())
	case "storm":
		receiveStorm()
	default:
		receive(kind)
	}
}

// cannedAnswer has 590 bytes, as receivers' answers have.
var cannedAnswer = func() string {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\n" +
		"Server: test\r\nX-Request-Id: 0123456789abcdef\r\nContent-Length: 400\r\n\r\n"
	return head + strings.Repeat("x", 400)
}()

// receive answers every request alike, with as little work as can be.
func receive(scheme string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if scheme == "https" {
		made := httptest.NewUnstartedServer(nil)
		made.StartTLS()
		cert := made.TLS.Certificates[0]
		made.Close()
		fmt.Printf("%x\n", cert.Certificate[0])
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	fmt.Printf("%s://%s/hook\n", scheme, listener.Addr())
	go serve(listener, discard)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func discard(body io.Reader) bool {
	_, err := io.Copy(io.Discard, body)
	return err == nil
}

func serve(listener net.Listener, take func(body io.Reader) bool) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go answerAll(conn, take)
	}
}

// answerAll lets each body be taken, and answers if that says so.
func answerAll(conn net.Conn, take func(body io.Reader) bool) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		length := 0
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) <= 2 {
				break
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				_, _ = fmt.Sscanf(string(value), "%d", &length)
			}
		}
		if !take(io.LimitReader(in, int64(length))) {
			_, _ = in.ReadByte() // the sender goes
			return
		}
		if _, err := io.WriteString(conn, cannedAnswer); err != nil {
			return
		}
	}
}

// receiverProcess starts a receiver in another process, which ends with this test.
func receiverProcess(tb testing.TB, kind string) (out *bufio.Reader, in io.Writer) {
	tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiverEnv+"="+kind)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(tb, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	return bufio.NewReader(stdout), stdin
}

func line(tb testing.TB, in *bufio.Reader) string {
	tb.Helper()
	text, err := in.ReadString('\n')
	require.NoError(tb, err)
	return strings.TrimSpace(text)
}

func startReceiver(tb testing.TB, scheme string) (url string, roots *x509.CertPool) {
	tb.Helper()
	out, _ := receiverProcess(tb, scheme)
	if scheme == "https" {
		var der []byte
		_, err := fmt.Sscanf(line(tb, out), "%x", &der)
		require.NoError(tb, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(tb, err)
		roots = x509.NewCertPool()
		roots.AddCert(cert)
	}
	return line(tb, out), roots
}

// poster makes one request.
type poster func() error

// senders are an attempt as deliveries make it, signed and recorded, and a bare POST by net/http that
// signs and records nothing.
func senders(tb testing.TB, scheme string) map[string]poster {
	url, roots := startReceiver(tb, scheme)
	payload := bytes.Repeat([]byte("p"), 1024)
	s := newTestSender(newTestClient(tb, ClientConfig{RootCAs: roots}))
	s.signer = &standardSigner{}
	c := testClaim()
	c.Event.Payload = payload
	t := newTarget(Endpoint{URL: url, Secrets: []Secret{NewSecret()}})
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)

	transport := &http.Transport{
		MaxIdleConnsPerHost: 64, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots, DynamicRecordSizingDisabled: true},
	}
	tb.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	return map[string]poster{
		"attempt": func() error {
			if a := s.attempt(ctx, c, t); a.Status != AttemptSucceeded {
				return fmt.Errorf("%s: %s", a.ErrorCode, a.Error)
			}
			return nil
		},
		"bare": func() error {
			r, err := http.NewRequestWithContext(ctx, "POST", url, bytes.NewReader(payload))
			if err != nil {
				return err
			}
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return err
		},
	}
}

// BenchmarkAttempt shows what one attempt costs, its time here and in the receiver, and its memory.
func BenchmarkAttempt(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		posters := senders(b, scheme)
		for _, name := range []string{"bare", "attempt"} {
			post := posters[name]
			b.Run(scheme+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := post(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkAttemptCPU compares the CPU that this process spends on an attempt with that on a bare POST,
// by the median of interleaved rounds, each with as many at once.
func BenchmarkAttemptCPU(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		for _, workers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", scheme, workers), func(b *testing.B) {
				posters := senders(b, scheme)
				cost := map[string][]float64{}
				for b.Loop() {
					for range 9 {
						for _, name := range []string{"bare", "attempt"} {
							cost[name] = append(cost[name], cpuOf(b, posters[name], 2000, workers))
						}
					}
				}
				bare, attempt := median(cost["bare"]), median(cost["attempt"])
				b.ReportMetric(bare, "bare-µs")
				b.ReportMetric(attempt, "attempt-µs")
				b.ReportMetric(attempt/bare, "attempt/bare")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// cpuOf is how many microseconds of CPU each of n requests takes.
func cpuOf(b *testing.B, post poster, n, workers int) float64 {
	before := processCPU(b)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range n / workers {
				if err := post(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64((processCPU(b)-before)/time.Nanosecond) / 1000 / float64(n/workers*workers)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
