//go:build !unix

package main

import "errors"

func (p *process) stopped(bool) error { return errors.New("processes cannot be stopped here") }
