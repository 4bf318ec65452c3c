package console

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook"
)

// functions are what templates can say.
var functions = template.FuncMap{
	"asset":      assetURL,
	"count":      countAny,
	"ms":         milliseconds,
	"ago":        func(t any) string { return ago(timeOf(t), time.Now()) },
	"stamp":      func(t any) string { return timeOf(t).UTC().Format("2006-01-02 15:04:05 UTC") },
	"exact":      func(t any) string { return timeOf(t).UTC().Format("2006-01-02 15:04:05.000 UTC") },
	"iso":        func(t any) string { return timeOf(t).UTC().Format(time.RFC3339Nano) },
	"stateWord":  func(s webhook.DeliveryState) string { return stateWords[s].word },
	"stateTone":  func(s webhook.DeliveryState) string { return stateWords[s].tone },
	"stateSays":  func(s webhook.DeliveryState) string { return stateWords[s].says },
	"code":       codeWords,
	"trigger":    func(t webhook.Trigger) string { return triggerWords[t] },
	"attempt":    func(s webhook.AttemptStatus) string { return attemptWords[s].word },
	"tone":       func(s webhook.AttemptStatus) string { return attemptWords[s].tone },
	"statusText": statusText,
	"shortURL":   shortURL,
	"readable":   readable,
	"plural":     plural,
	"labelled": func(label string, list []header) labelledHeaders {
		return labelledHeaders{label, list}
	},
	"add":    func(a, b int) int { return a + b },
	"titled": func(s string) string { return strings.ToUpper(s[:1]) + s[1:] },
}

// labelledHeaders are a list with its name for screen readers.
type labelledHeaders struct {
	Label string
	List  []header
}

// words are how a state is shown: the tone is for the eye, and never the only sign.
type words struct{ word, tone, says string }

var stateWords = map[webhook.DeliveryState]words{
	webhook.StateQueued:    {"Queued", "info", "Due, waiting for its turn."},
	webhook.StateScheduled: {"Scheduled", "info", "Due later."},
	webhook.StateSending:   {"Sending", "info", "An attempt is under way or about to be."},
	webhook.StateHeld:      {"Held", "warn", "Its endpoint is paused or disabled."},
	webhook.StateSucceeded: {"Delivered", "good", "The receiver answered 2xx."},
	webhook.StateExhausted: {"Failed", "bad", "The retry policy gave up."},
	webhook.StateGone:      {"Gone", "bad", "The receiver answered 410 Gone."},
	webhook.StateCanceled:  {"Canceled", "mute", "It was canceled."},
	webhook.StateExpired:   {"Expired", "bad", "Its time was over before it succeeded."},
}

var attemptWords = map[webhook.AttemptStatus]words{
	webhook.AttemptSucceeded:   {"Succeeded", "good", ""},
	webhook.AttemptFailed:      {"Failed", "bad", ""},
	webhook.AttemptInterrupted: {"Interrupted", "warn", ""},
	webhook.AttemptCanceled:    {"Canceled", "mute", ""},
}

var triggerWords = map[webhook.Trigger]string{
	webhook.TriggerInitial:   "First attempt",
	webhook.TriggerAutomatic: "Automatic retry",
	webhook.TriggerManual:    "Retried by hand",
	webhook.TriggerBulkRetry: "Bulk retry",
	webhook.TriggerUnpause:   "After a pause",
}

var codesInWords = map[webhook.ErrorCode]string{
	webhook.CodeMissingURL:             "The endpoint was deleted",
	webhook.CodeInvalidURL:             "The endpoint's URL is not valid",
	webhook.CodeInvalidCharacter:       "A header has a character that is not allowed",
	webhook.CodePayloadMissing:         "The payload cannot be read",
	webhook.CodeDataArchived:           "The payload was erased",
	webhook.CodeCancelledPastRetention: "It expired before it was delivered",
	webhook.CodeCancelled:              "Canceled by a person",
	webhook.CodeBulkRetryCancelled:     "Its bulk retry was canceled",
	webhook.CodeEndpointGone:           "The receiver answered 410 Gone",
	webhook.CodeEndpointDisabled:       "Its endpoint was disabled",
	webhook.CodeBadResponse:            "The receiver did not answer 2xx",
	webhook.CodeOAuth2HandshakeFailed:  "The endpoint's credentials could not be had",
	webhook.CodeBlockedAddress:         "The address is private or special, so it was not called",
	webhook.CodeNetworkRequestCanceled: "This service shut down during the attempt",
	webhook.CodeTimeout:                "The receiver took too long",
	webhook.CodeTooManyRedirects:       "Too many redirects",
	webhook.CodeProxyError:             "The proxy on our side failed",
	webhook.CodeNotFound:               "There is no host of that name",
	webhook.CodeDNSLookupFailed:        "The host's name could not be looked up",
	webhook.CodeSelfSignedCert:         "The receiver's certificate is signed by itself",
	webhook.CodeUnableToGetIssuerCert:  "The receiver's certificate chain is not complete",
	webhook.CodeSSLErrorCAUnknown:      "The receiver's certificate is of an unknown authority",
	webhook.CodeCertAltnameInvalid:     "The receiver's certificate is for another host",
	webhook.CodeSSLCertExpired:         "The receiver's certificate has expired or is not valid yet",
	webhook.CodeTLSCertInvalid:         "The receiver's certificate is not valid",
	webhook.CodeSSLWrongVersionNumber:  "The receiver does not speak TLS, or a version too old",
	webhook.CodeTLSHandshakeFailed:     "The receiver broke off the TLS handshake",
	webhook.CodeConnectionRefused:      "The receiver refused the connection",
	webhook.CodeConnectionReset:        "The receiver broke the connection",
	webhook.CodeNetworkUnreachable:     "The receiver's network cannot be reached",
	webhook.CodeHostUnreachable:        "The receiver's host cannot be reached",
	webhook.CodeSocketClosed:           "The connection closed before an answer came",
	webhook.CodeResponseTooLarge:       "The answer's headers were too large",
	webhook.CodeZDataError:             "The answer's body could not be decoded",
	webhook.CodeProtocolError:          "The answer was not HTTP",
	webhook.CodeNetworkError:           "The network failed",
	webhook.CodeInternalError:          "A fault on our side",
	webhook.CodeInterrupted:            "This service stopped during the attempt; the request may have been sent",
	webhook.CodeUnknown:                "An unknown fault",
	webhook.CodeCLI:                    "Sent to a command line",
	webhook.CodeCLIUnavailable:         "The command line was not there",
}

// codeWords says a code in plain words; one that is unknown, as it is.
func codeWords(code webhook.ErrorCode) string {
	if text, found := codesInWords[code]; found {
		return text
	}
	return string(code)
}

func statusText(code int) string { return http.StatusText(code) }

// count writes 12345 as 12,345.
func count[T int | int64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func countAny(n any) string {
	switch n := n.(type) {
	case int:
		return count(n)
	case int64:
		return count(n)
	}
	return fmt.Sprint(n)
}

func plural(n any, one, many string) string {
	if fmt.Sprint(n) == "1" {
		return one
	}
	return many
}

func milliseconds(v any) string {
	var ms float64
	switch v := v.(type) {
	case int64:
		ms = float64(v)
	case float64:
		ms = v
	case *int64:
		ms = float64(*v)
	}
	switch {
	case ms >= 60_000:
		return span(time.Duration(ms) * time.Millisecond)
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10 || ms == 0:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func timeOf(t any) time.Time {
	if p, ok := t.(*time.Time); ok {
		return *p
	}
	return t.(time.Time)
}

// ago says a time from now's point of view: "3 min ago", "in 2 h".
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span says how long, in one or two units.
func span(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 10*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int((d % time.Hour).Minutes()))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// shortURL is host and path: a query may hold credentials, and a table has no room for it.
func shortURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	short := u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		short += "?…"
	}
	return strings.TrimSuffix(short, "/")
}

// readable shows control characters and what turns the direction of writing as what they are, so that
// text of strangers cannot disguise itself.
func readable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ':
			return '␀' + r
		case r == 0x7f:
			return '␡'
		case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x61c:
			return utf8.RuneError
		}
		return r
	}, s)
}
