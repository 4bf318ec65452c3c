package http1_test

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook/internal/http1"
)

// written is a connection whose timers never go off, as those of a process that was stopped do not at once.
type written struct {
	script
	n int
}

func (w *written) Write(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}

type nobody struct{}

func (nobody) Wrote()     {}
func (nobody) FirstByte() {}

// Nothing is sent once the deadline has passed, whatever the connection thinks of it.
func TestNothingIsSentTooLate(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\n\r\n")
	for name, send := range map[string]func(*http1.Conn) error{
		"Send": func(c *http1.Conn) error { return c.Send(request) },
		"Stream": func(c *http1.Conn) error {
			return c.Stream(func(w io.Writer) error {
				_, err := w.Write(request)
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, late := range []bool{false, true} {
				raw := &written{script: script{pieces: [][]byte{[]byte("HTTP/1.1 204 No Content\r\n\r\n")}, end: net.ErrClosed}}
				wire := http1.NewWire(raw, false)
				c := http1.NewConn(wire, wire, limit)
				deadline := time.Now().Add(time.Hour)
				if late {
					deadline = time.Now()
				}
				require.NoError(t, c.Begin(t.Context(), deadline, nobody{}))
				err := send(c)
				if late {
					require.ErrorIs(t, err, os.ErrDeadlineExceeded)
					require.NotErrorIs(t, err, http1.ErrNotSent, "it is not for another connection, either")
					require.Zero(t, raw.n)
					require.False(t, c.Finish())
					continue
				}
				require.NoError(t, err)
				_, err = c.ReadHead(false)
				require.NoError(t, err)
				c.Finish() // once all is written
				require.Equal(t, len(request), raw.n)
			}
		})
	}
}
