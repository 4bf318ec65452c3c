package docs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

func ExampleVerifier() {
	secret := webhook.NewSecret().Value // from the sender, usually out of the environment
	verify := webhook.Verifier{Secrets: []string{secret}}

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("genuine:", r.Header.Get("webhook-id"))
	})))

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest("POST", "/webhooks", strings.NewReader("forged")))
	fmt.Println(answer.Code)
	// Output: 400
}

// vector is the table of the page.
type vector struct {
	secret, id, timestamp, body, signature, public, publicSignature string
}

func readVector(t *testing.T) (page string, v vector) {
	text, err := os.ReadFile("receivers.md")
	require.NoError(t, err)
	cell := func(name string) string {
		m := regexp.MustCompile("(?m)^\\| " + name + " \\| `([^`]+)`").FindSubmatch(text)
		require.NotNil(t, m, name)
		return string(m[1])
	}
	return string(text), vector{cell("secret"), cell("webhook-id"), cell("webhook-timestamp"), cell("body"),
		cell("signature"), cell("public key"), cell("its signature")}
}

func (v vector) at(t *testing.T) time.Time {
	seconds, err := strconv.ParseInt(v.timestamp, 10, 64)
	require.NoError(t, err)
	return time.Unix(seconds, 0)
}

func TestVector(t *testing.T) {
	page, v := readVector(t)
	require.Contains(t, page, v.at(t).UTC().Format("2006-01-02 15:04:05")+" UTC")
	got, err := webhook.Sign(v.secret, v.id, v.at(t), []byte(v.body))
	require.NoError(t, err)
	require.Equal(t, v.signature, got)
	verify := func(secret, signature, body string, now time.Time) error {
		h := http.Header{}
		h.Set("webhook-id", v.id)
		h.Set("webhook-timestamp", v.timestamp)
		h.Set("webhook-signature", signature)
		return webhook.Verifier{Secrets: []string{secret}, Now: func() time.Time { return now }}.Verify([]byte(body), h)
	}
	require.NoError(t, verify(v.secret, "v1,AAAA "+v.signature, v.body, v.at(t)))
	require.NoError(t, verify(v.public, v.publicSignature, v.body, v.at(t)))
	require.ErrorIs(t, verify(v.secret, v.signature, v.body+" ", v.at(t)), webhook.ErrSignatureMismatch)
	require.ErrorIs(t, verify(v.public, v.publicSignature, v.body+" ", v.at(t)), webhook.ErrSignatureMismatch)
	require.ErrorIs(t, verify(v.secret, v.signature, v.body, v.at(t).Add(301*time.Second)), webhook.ErrSignatureTime)
}

// The functions of the page, run by their languages where those are installed.
func TestOtherLanguages(t *testing.T) {
	page, v := readVector(t)
	for _, language := range []struct{ name, program, flag, call string }{
		{"python", "python3", "-c", `h = {"webhook-id": %[2]q, "webhook-timestamp": %[3]q, "webhook-signature": %[4]q}
print(genuine(%[1]q, h, %[5]s.encode(), %[6]d))`},
		{"js", "node", "-e", `console.log(genuine(%[1]q, {"webhook-id": %[2]q, "webhook-timestamp": %[3]q, "webhook-signature": %[4]q}, %[5]s, %[6]d))`},
	} {
		code := regexp.MustCompile("(?ms)^```" + language.name + "\n(.*?)^```$").FindStringSubmatch(page)
		require.NotNil(t, code, "no %s on the page", language.name)
		if exec.Command(language.program, "--version").Run() != nil {
			t.Logf("no %s here: its snippet was not run", language.program)
			continue
		}
		genuine := func(signature, body string, now time.Time) string {
			call := fmt.Sprintf(language.call, v.secret, v.id, v.timestamp, signature, "'"+body+"'", now.Unix())
			out, err := exec.Command(language.program, language.flag, code[1]+"\n"+call).CombinedOutput()
			require.NoError(t, err, string(out))
			return strings.ToLower(strings.TrimSpace(string(out)))
		}
		require.Equal(t, "true", genuine("v1,AAAA "+v.signature, v.body, v.at(t)), language.name)
		require.Equal(t, "false", genuine(v.signature, v.body+" ", v.at(t)), language.name)
		require.Equal(t, "false", genuine(v.signature, v.body, v.at(t).Add(301*time.Second)), language.name)
		require.Equal(t, "false", genuine("v1,AAAA", v.body, v.at(t)), language.name)
	}
}

func readPage(t *testing.T, name string) string {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}
