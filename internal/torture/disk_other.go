//go:build !linux

package main

import "errors"

func insideSmallDisk() error { return errors.New("needs the mount namespaces of Linux") }

func smallDiskDir() string { return "" }
