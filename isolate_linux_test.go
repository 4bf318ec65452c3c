package webhook

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// isolate moves this thread into a network of its own, and runs a command in it.
func isolate(setup string) error {
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil || setup == "" {
		return err
	}
	for _, command := range []string{"ip link set lo up", setup} {
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}
