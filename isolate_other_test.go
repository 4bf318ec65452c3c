//go:build !linux

package webhook

import "errors"

func isolate(string) error { return errors.New("only Linux has networks for single threads") }
