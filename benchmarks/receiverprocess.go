package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/outhook/webhook/benchmarks/internal/receiver"
)

// receiverProcess is the receiver, from this side.
type receiverProcess struct {
	cmd      *exec.Cmd
	commands io.WriteCloser
	answers  *bufio.Reader
	address  string
}

func startReceiver(self, counter string) (*receiverProcess, error) {
	cmd := exec.Command(self, "receive", counter)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return nil, err
	}
	p := &receiverProcess{cmd: cmd, commands: in, answers: bufio.NewReader(out)}
	line, err := p.answers.ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("receiver: %w", err), p.stop())
	}
	p.address = strings.TrimSpace(line)
	return p, nil
}

// report returns what has arrived since it was last asked.
func (p *receiverProcess) report() (s receiver.Summary, err error) {
	if _, err := io.WriteString(p.commands, "report\n"); err != nil {
		return s, fmt.Errorf("receiver: %w", err)
	}
	line, err := p.answers.ReadBytes('\n')
	if err != nil {
		return s, fmt.Errorf("receiver: %w", err)
	}
	return s, json.Unmarshal(line, &s)
}

func (p *receiverProcess) stop() error {
	return errors.Join(p.commands.Close(), p.cmd.Wait())
}
