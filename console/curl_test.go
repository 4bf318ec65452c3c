package console_test

import (
	"html"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// TestCurlCommand gives the command to a real shell, where a function stands for curl, and reads what
// that was given.
func TestCurlCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no POSIX shell")
	}
	s := newSite(t, operator)
	e := s.endpoint("acme")
	for _, payload := range []string{
		`{"n":1}`, `'; touch /tmp/pwned; '`, "$(id) `id` \\ \" ' !x", "@/etc/passwd", "line\nline", "tab\tü\u00a0", "bell\a\x1b[31m", "\xff\x00binary", "-o/tmp/x", "%s",
	} {
		s.client.Script(200)
		receipt, err := s.d.Send(t.Context(), webhook.Event{TenantID: "acme", Type: "a", Payload: []byte(payload), ContentType: "text/plain; a='b'"})
		require.NoError(t, err)
		require.NoError(t, s.d.RunOnce(t.Context()))
		page := text(t, s.do("GET", "/deliveries/"+receipt.DeliveryIDs[0], ""))
		found := regexp.MustCompile(`(?s)<code id="curl-text">(.*?)</code>`).FindStringSubmatch(page)
		require.NotNil(t, found)
		command := html.UnescapeString(found[1])
		require.NotContains(t, command, e.Secrets[0].Value)

		script := `curl() { for a; do printf '%s\0' "$a"; done; case "$*" in *--data-binary*) cat;; esac; }` + "\n" + command + "\n"
		run := exec.CommandContext(t.Context(), "sh", "-c", script)
		run.Dir = t.TempDir()
		out, err := run.Output()
		require.NoError(t, err, command)
		args := strings.Split(string(out), "\x00")
		require.Contains(t, args, e.URL)
		require.Contains(t, args, "Webhook-Id: "+receipt.EventID)
		require.Contains(t, args, "Content-Type: text/plain; a='b'")
		if strings.Contains(command, "--data-binary") {
			require.True(t, strings.HasSuffix(string(out), e.URL+"\x00"+payload), "%q", out)
		} else {
			require.Contains(t, args, payload)
		}
	}
}
