//go:build !linux

package webhook

import "errors"

// isolate is possible on Linux only.
func isolate(string) error { return errors.ErrUnsupported }
