package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/console/internal/browser"
	"github.com/outhook/webhook/internal/pgtest"
	"github.com/outhook/webhook/webhooktest"
)

// chromium is one browser for all tests; each person has a profile of its own in it.
var chromium struct {
	sync.Once
	ctx  context.Context
	stop context.CancelFunc
}

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

// needs skips a test for want of something, which in CI is a failure.
func needs(t *testing.T, there bool, what string) {
	t.Helper()
	if there {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI has no %s", what)
	}
	t.Skipf("NOT TESTED: there is no %s", what)
}

// person sits before a browser that shows a console, mounted under a path.
type person struct {
	*testing.T
	ctx      context.Context
	d        *webhook.Dispatcher
	receiver *webhooktest.Receiver
	base     string

	mu       sync.Mutex
	console  []string // what the browser complained about
	requests []string
}

// visit opens a console of a running dispatcher. One failure is final here, so that there is something
// to retry.
func visit(t *testing.T, access console.Access) *person {
	path := browser.Path()
	needs(t, path != "", "Chromium (apt-get install chromium)")
	chromium.Do(func() { chromium.ctx, chromium.stop = browser.New(context.Background(), path) })
	p := &person{T: t, receiver: webhooktest.NewReceiver(t)}
	p.d = webhooktest.New(t, webhook.Config{Retry: webhook.Schedule(), PollInterval: 20 * time.Millisecond})
	mux := http.NewServeMux()
	mux.Handle("/admin/hooks/", http.StripPrefix("/admin/hooks", console.New(p.d, console.Config{
		Authorize: func(*http.Request) (console.Access, bool) { return access, true },
	})))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p.base = server.URL + "/admin/hooks/"

	require.NoError(t, chromedp.Do(chromium.ctx)) // started
	ctx, cancel := chromedp.NewContext(chromium.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p.ctx = ctx
	p.listen()
	return p
}

func (p *person) listen() {
	messages := chromedp.Console(p.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.console = append(p.console, fmt.Sprintf("%s %s %s", m.Type, m.Text, m.URL))
			p.mu.Unlock()
		}
	}()
	require.NoError(p, chromedp.Listen(p.ctx, func(ev any) {
		if r, ok := ev.(*network.EventRequestWillBeSent); ok {
			p.mu.Lock()
			p.requests = append(p.requests, r.Request.URL)
			p.mu.Unlock()
		}
	}))
	_, err := chromedp.Call(p.ctx, network.Enable, network.EnableParams{})
	require.NoError(p, err)
	p.Cleanup(p.calm)
}

// calm holds the visit to this: no complaint of the browser, be it of a script, of the content policy or
// of anything else, and no request to anybody else.
func (p *person) calm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(p, p.console, "the browser's console")
	require.NotEmpty(p, p.requests)
	for _, url := range p.requests {
		require.True(p, strings.HasPrefix(url, p.base), "a request to %s", url)
	}
}

func (p *person) open(path string) {
	p.Helper()
	_, err := chromedp.RunResponse(p.ctx, chromedp.Navigate(p.base+path))
	require.NoError(p, err)
}

// follow clicks on what leads to another page, and waits for that.
func (p *person) follow(css string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(css)))
	require.NoError(p, err, css)
}

// followText clicks on the link or button with this text.
func (p *person) followText(text string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	path := fmt.Sprintf(`//main//*[self::a or self::button][normalize-space()=%q]`, text)
	_, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.Search(path)))
	require.NoError(p, err, text)
}

func (p *person) click(css string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS(css))), css)
}

func (p *person) fill(css, value string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.SetValue(chromedp.CSS(css), value)), css)
}

// press sends keys to whatever has the focus. It waits for nothing.
func (p *person) press(keys string) {
	p.Helper()
	require.NoError(p, chromedp.Do(p.ctx, chromedp.KeyEvent(keys)))
}

func eval[T any](p *person, expression string) T {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	require.NoError(p, err, expression)
	return v
}

func (p *person) heading() string { p.Helper(); return p.text("h1") }

func (p *person) text(css string) string {
	p.Helper()
	text := eval[string](p, fmt.Sprintf(`document.querySelector(%q)?.textContent ?? ""`, css))
	return strings.Join(strings.Fields(text), " ")
}

// waitFor waits for an expression to become true.
func (p *person) waitFor(expression string) {
	p.Helper()
	require.Eventually(p, func() bool {
		is, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && is
	}, 20*time.Second, 20*time.Millisecond, expression)
}

func (p *person) rows() int {
	p.Helper()
	return eval[int](p, `document.querySelectorAll("[data-rows] tbody tr").length`)
}

func (p *person) endpoint() webhook.Endpoint {
	p.Helper()
	e, err := p.d.CreateEndpoint(p.Context(), p.receiver.Endpoint())
	require.NoError(p, err)
	return e
}

// send sends an event and waits for the end of its first delivery.
func (p *person) send(eventType string) webhook.Delivery {
	p.Helper()
	receipt, err := p.d.Send(p.Context(), webhook.Event{Type: eventType, Payload: []byte(`{"order":1}`)})
	require.NoError(p, err)
	return p.settled(receipt.DeliveryIDs[0])
}

func (p *person) settled(deliveryID string) (d webhook.Delivery) {
	p.Helper()
	p.until(deliveryID, func(d webhook.Delivery) bool { return d.State.Final() })
	return p.stored(deliveryID)
}

func (p *person) until(deliveryID string, done func(webhook.Delivery) bool) {
	p.Helper()
	require.Eventually(p, func() bool { return done(p.stored(deliveryID)) }, 20*time.Second, 5*time.Millisecond)
}

func (p *person) stored(deliveryID string) webhook.Delivery {
	p.Helper()
	d, err := p.d.GetDelivery(context.Background(), deliveryID)
	require.NoError(p, err)
	return d
}

func (p *person) storedEndpoint(id string) webhook.Endpoint {
	p.Helper()
	e, err := p.d.GetEndpoint(p.Context(), id)
	require.NoError(p, err)
	return e
}

func (p *person) withoutScripts() {
	p.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(p, err)
}

func (p *person) prefers(scheme string) {
	p.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(p, err)
}

func (p *person) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

// followFoot presses one of the buttons for colours.
func (p *person) followFoot(text string) {
	p.Helper()
	value := map[string]string{"Auto": "auto", "Light": "light", "Dark": "dark"}[text]
	p.follow(fmt.Sprintf(`.theme button[value="%s"]`, value))
}

// pressAndGo presses keys that lead to another page.
func (p *person) pressAndGo(keys string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(keys))
	require.NoError(p, err)
}
