// Package peer is what the programs of all contenders share: a process that measures one of them, and the parts
// that peers are made of.
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

// An Opener makes a contender ready to send.
type Opener func(context.Context, *load.Task) (load.Sender, error)

// A Study measures something of its own.
type Study func(context.Context, *load.Task) (load.Result, error)

// Run reads a task, does it with the contender that it names, and writes the result; both are JSON.
func Run(ctx context.Context, in io.Reader, out io.Writer, senders map[string]Opener, studies map[string]Study) error {
	var task load.Task
	if err := json.NewDecoder(in).Decode(&task); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	do := studies[task.Contender]
	if do == nil {
		open := senders[task.Contender]
		if open == nil {
			return fmt.Errorf("no contender %q", task.Contender)
		}
		do = func(ctx context.Context, task *load.Task) (load.Result, error) { return Measure(ctx, task, open) }
	}
	result, err := do(ctx, &task)
	if err != nil {
		return fmt.Errorf("%s: %w", task.Contender, err)
	}
	return json.NewEncoder(out).Encode(result)
}

// Measure measures a contender.
func Measure(ctx context.Context, task *load.Task, open Opener) (result load.Result, err error) {
	s, err := open(ctx, task)
	if err != nil {
		return result, fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return load.Measure(ctx, task, s)
}
