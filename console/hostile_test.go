package console_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/webhooktest"
)

// What would run if anything of it were taken for markup, script, style or an address.
const attack = `</pre></script><script>window.pwned=1</script><img src=x onerror="window.pwned=1"><style>body{display:none}</style>` +
	`"'><svg onload=window.pwned=1><a href="javascript:window.pwned=1">x</a>{{.Secrets}}<!--`

// TestHostileTextIsInert lets a receiver, a customer and an event say the worst, and looks at every page.
func TestHostileTextIsInert(t *testing.T) {
	p := visit(t, operator)
	e := p.receiver.Endpoint()
	e.Description, e.Metadata = attack, map[string]string{"note": attack}
	e.URL += "/?q=" + strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", " ", "%20", "{", "%7B", "}", "%7D").Replace(`"><script>window.pwned=1</script>{{1}}`)
	made, err := p.d.CreateEndpoint(t.Context(), e)
	require.NoError(t, err)
	answers := []webhooktest.Answer{
		{Status: 500, Body: attack, Header: http.Header{"Content-Type": {"text/html"}, "X-Attack": {attack}}},
		{Status: 500, Body: "\xff\xfe\x00broken \x1b[31m\u202eright to left", Header: http.Header{"X-Bytes": {"\xff\xfe\x80"}}},
		{Status: 500, Body: strings.Repeat(`[`, 3000), Header: http.Header{"Content-Type": {"application/json"}}},
		{Status: 500, Header: http.Header{"X-Large": {strings.Repeat("a", 1<<20)}}},
	}
	var paths []string
	for i, a := range answers {
		p.receiver.Answer(a)
		receipt, err := p.d.Send(t.Context(), webhook.Event{
			Type: "order.created", Payload: fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, attack), IdempotencyKey: fmt.Sprint(i, attack[:40]),
			Attributes: map[string]string{"name": attack},
		})
		require.NoError(t, err)
		d := p.settled(receipt.DeliveryIDs[0])
		paths = append(paths, "deliveries/"+d.ID, "events/"+d.EventID)
	}
	require.Equal(t, webhook.CodeResponseTooLarge, p.stored(strings.TrimPrefix(paths[6], "deliveries/")).LastErrorCode)
	require.NoError(t, p.d.DisableEndpoint(t.Context(), made.ID, attack))
	paths = append(paths, "", "deliveries", "events", "endpoints", "endpoints/"+made.ID, "bulk-retries/new?attribute.name="+"%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E")
	for _, path := range paths {
		p.open(path)
		require.False(t, eval[bool](p, `"pwned" in window`), path)
		require.Zero(t, eval[int](p, `document.querySelectorAll("main script, main style, main img, main [onload], main [onerror], main a[href^=javascript]").length`), path)
		require.NotEmpty(t, p.heading())
	}
	p.open(paths[0])
	require.Contains(t, p.text(".timeline"), "<script>window.pwned=1</script>", "it is there to be read")
	require.Contains(t, p.text(".headers:last-of-type, .timeline"), "X-Attack")
	p.open(paths[2])
	require.Contains(t, p.text(".timeline"), "broken ␛[31m\uFFFDright to left")
	p.open(paths[6])
	require.Contains(t, p.text(".timeline"), "The answer's headers were too large")
}

// TestMadeUpAddresses puts the attack where only an address can: nothing of it comes to life, and no
// form or redirect leads elsewhere.
func TestMadeUpAddresses(t *testing.T) {
	s := newSite(t, operator)
	for _, path := range []string{
		"/deliveries?eventType=%3Cscript%3Ealert(1)%3C/script%3E", "/deliveries?notice=%3Cscript%3Ealert(1)%3C/script%3E", "/events?eventType=%22%3E%3Cscript%3Ealert(1)",
		"/deliveries?since=%3Cscript%3Ealert(1)", "/endpoints?tenant=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "/%3Cscript%3Ealert(1)%3C/script%3E", "/?range=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
	} {
		res := s.do("GET", path, "", "Accept", "text/html")
		body := text(t, res)
		require.Contains(t, body, "<main")
		require.NotContains(t, body, "<script>alert", path)
	}
	for _, back := range []string{"https://evil.example", "//evil.example", `/\evil.example`, `\\evil.example`, "javascript:alert(1)", "deliveries/../../..//evil.example", "a\r\nSet-Cookie: x=1", "deliveries#x"} {
		res := s.do("POST", "/theme", "theme=dark&back="+strings.NewReplacer("\r", "%0D", "\n", "%0A", "&", "%26").Replace(back), "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, http.StatusSeeOther, res.StatusCode)
		require.Equal(t, "./", res.Header.Get("Location"), back)
	}
	res := s.do("GET", "/search?q=wd_%2F..%2F..%2F%2Fevil.example", "")
	require.True(t, strings.HasPrefix(res.Header.Get("Location"), "deliveries/wd_%2F"), res.Header.Get("Location"))
}

const axeVersion = "4.10.2"

// axe is the accessibility checker, from npm, kept between runs outside of the repository.
func axe(t *testing.T) string {
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "outhook-test", "axe-core-"+axeVersion)
	file := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(file); err != nil {
		require.NoError(t, os.MkdirAll(dir, 0o755))
		npm, err := exec.LookPath("npm")
		needs(t, err == nil, "npm")
		out, err := exec.CommandContext(t.Context(), npm, "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "axe-core@"+axeVersion).CombinedOutput()
		needs(t, err == nil, "npm registry: "+string(out))
	}
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(source)
}

// TestAccessible has axe-core look at every page, light and dark, wide and narrow.
func TestAccessible(t *testing.T) {
	p := visit(t, operator)
	source := axe(t)
	e := p.endpoint()
	p.receiver.Script(503, 200)
	failed := p.send("order.paid")
	p.send("order.created")
	bulk, err := p.d.BulkRetry(t.Context(), webhook.DeliveryQuery{AllTenants: true, EventType: "never"}, webhook.BulkRetryOptions{})
	require.NoError(t, err)
	paused := p.endpoint()
	require.NoError(t, p.d.PauseEndpoint(t.Context(), paused.ID))
	for _, scheme := range []string{"light", "dark"} {
		p.prefers(scheme)
		for _, width := range []int64{1200, 360} {
			_, err := chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1})
			require.NoError(t, err)
			for _, path := range []string{"", "deliveries", "deliveries?eventType=never", "deliveries/" + failed.ID, "events", "events/" + failed.EventID,
				"endpoints", "endpoints/" + e.ID, "bulk-retries", "bulk-retries/new", "bulk-retries/" + bulk.ID} {
				p.open(path)
				require.LessOrEqual(t, eval[int64](p, `document.documentElement.scrollWidth`), width, "%s is too wide at %d", path, width)
				eval[bool](p, source+"\n;true")
				found, err := chromedp.Run(p.ctx, chromedp.Evaluate[[]string](`axe.run({resultTypes: ["violations"]}).then(r => r.violations
					.filter(v => ["serious", "critical", "moderate"].includes(v.impact))
					.map(v => v.impact + " " + v.id + ": " + v.help + " " + v.nodes.map(n => n.target.join(" ")).slice(0, 3).join(", ")))`, chromedp.EvalAwaitPromise))
				require.NoError(t, err)
				require.Empty(t, found, "%s, %s, %d", path, scheme, width)
			}
		}
	}
}
