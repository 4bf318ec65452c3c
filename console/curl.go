package console

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	"github.com/outhook/webhook"
)

// curlCommand repeats a delivery's request from a shell, without what proves that it is genuine: the
// signature cannot be made without the secret, and old ones are refused. What the payload holds cannot
// get out of its quotes, nor make curl read a file.
func curlCommand(method, target string, e webhook.Event) string {
	args := []string{"curl", "--globoff", "--path-as-is", "--request " + shellQuote(method)}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		args = append(args, "--header "+shellQuote(name+": [redacted]"))
	}
	args = append(args,
		"--header "+shellQuote("Content-Type: "+e.ContentType),
		"--header "+shellQuote(webhook.HeaderID+": "+e.ID))
	if typeable(e.Payload) {
		args = append(args, "--data-raw "+shellQuote(string(e.Payload)), "--url "+shellQuote(target))
		return strings.Join(args, " \\\n  ")
	}
	args = append(args, "--data-binary @-", "--url "+shellQuote(target))
	return "printf %s " + shellQuote(base64.StdEncoding.EncodeToString(e.Payload)) + " | base64 -d | \\\n" + strings.Join(args, " \\\n  ")
}

// typeable reports whether a terminal takes the bytes as text. Some control characters would act when
// they are pasted.
func typeable(b []byte) bool {
	text := string(b)
	return readable(text) == text && strings.ToValidUTF8(text, "") == text
}

// shellQuote makes one word of a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
