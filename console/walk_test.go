package console_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
)

var single = console.Access{Write: true} // of the tenant ""

func TestWalkFilterOpenRetry(t *testing.T) {
	p := visit(t, operator)
	e := p.endpoint()
	p.receiver.Script(200, 503, 500)
	p.send("order.created")
	failed := p.send("order.paid")
	p.send("order.shipped")

	p.open("")
	require.Equal(t, "Overview", p.heading())
	p.followText("All that failed")
	require.Equal(t, 2, p.rows())
	p.fill("#f-type", "order.paid")
	p.followText("Filter")
	require.Equal(t, 1, p.rows())
	require.Equal(t, p.base+"deliveries?status=failed&eventType=order.paid", eval[string](p, "location.href"), "the address says the filter, and nothing else")
	p.follow("[data-rows] .row")
	require.Contains(t, p.heading(), "order.paid Failed")
	require.Contains(t, p.text("main"), "The receiver did not answer 2xx")
	require.Contains(t, p.text("#curl-text"), "--data-raw '{\"order\":1}'")
	require.NotContains(t, p.text("#curl-text"), e.Secrets[0].Value)

	p.receiver.Script(200)
	p.followText("Retry now")
	require.Contains(t, p.text(".note"), "The delivery is due now.")
	p.until(failed.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })
	now := p.stored(failed.ID)
	require.Len(t, now.Attempts, 2)
	require.Equal(t, webhook.TriggerManual, now.Attempts[1].Trigger)
	p.waitFor(`document.querySelector("h1 .badge").textContent === "Delivered"`) // by itself
	require.Contains(t, p.text(".timeline li"), "Succeeded 200 OK #2 · Retried by hand")
}

func TestWalkSelectAndRetry(t *testing.T) {
	p := visit(t, single)
	p.endpoint()
	p.receiver.Script(503, 503, 503)
	a, b, c := p.send("a"), p.send("b"), p.send("c")
	p.open("deliveries?status=failed")
	require.True(t, eval[bool](p, `document.querySelector("[data-selected]").disabled`))
	p.click(fmt.Sprintf(`input[value="%s"]`, a.ID))
	p.click(fmt.Sprintf(`input[value="%s"]`, c.ID))
	p.followText("Retry selected (2)")
	require.Equal(t, "Retry 2 deliveries?", p.heading())
	require.Len(t, p.stored(a.ID).Attempts, 1, "nothing happens before it is confirmed")
	p.receiver.Script(200, 200)
	p.followText("Retry 2 deliveries")
	require.Contains(t, p.text(".note"), "The selected deliveries are due now.")
	require.Equal(t, p.base+"deliveries?status=failed&notice=selected", eval[string](p, "location.href"))
	for _, d := range []webhook.Delivery{a, c} {
		p.until(d.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })
	}
	require.Equal(t, webhook.StateExhausted, p.stored(b.ID).State)

	p.open("deliveries")
	p.click("[data-select-all]")
	require.Equal(t, 3, eval[int](p, `document.querySelectorAll("tbody :checked").length`))
	require.Equal(t, "Retry selected (3)", p.text("[data-selected]"))
	p.click("[data-select-all]")
	require.Equal(t, 0, eval[int](p, `document.querySelectorAll("tbody :checked").length`))
}

func TestWalkBulkRetry(t *testing.T) {
	p := visit(t, operator)
	p.endpoint()
	p.receiver.Script(503, 503, 503, 503)
	lost := []webhook.Delivery{p.send("order.paid"), p.send("order.paid"), p.send("order.paid")}
	other := p.send("order.created")
	p.open("deliveries?eventType=order.paid")
	p.followText("Retry all that match…")
	require.Equal(t, "Retry 3 deliveries?", p.heading())
	require.Contains(t, p.text(".pairs"), "Event typeorder.paid")
	p.receiver.Script(200, 200, 200)
	p.fill("#rate", "500")
	p.followText("Retry 3 deliveries")
	require.Contains(t, p.heading(), "Bulk retry")
	p.waitFor(`document.querySelector("h1 .badge").textContent === "Done"`)
	require.Contains(t, p.text(".cards"), "Retried3of 3 seen so far")
	id := strings.TrimPrefix(eval[string](p, "location.href"), p.base+"bulk-retries/")
	for _, d := range lost {
		p.until(d.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })
		require.Equal(t, id, p.stored(d.ID).Attempts[1].BulkRetryID)
	}
	require.Len(t, p.stored(other.ID).Attempts, 1)
	b, err := p.d.GetBulkRetry(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 500.0, b.Rate)

	p.open("bulk-retries")
	require.Equal(t, 1, p.rows())
	p.open("bulk-retries/new?eventType=never")
	require.Contains(t, p.text("main"), "There is nothing to retry.")
}

func TestWalkEndpoint(t *testing.T) {
	p := visit(t, single)
	e := p.endpoint()
	p.open("endpoints")
	p.follow("[data-rows] .row")
	require.Contains(t, p.heading(), "New")
	p.followText("Pause")
	require.Equal(t, webhook.EndpointPaused, p.storedEndpoint(e.ID).State)
	require.Contains(t, p.heading(), "Paused")
	receipt, err := p.d.Send(t.Context(), webhook.Event{Type: "held", Payload: []byte("{}")})
	require.NoError(t, err)
	require.Equal(t, webhook.StateHeld, p.stored(receipt.DeliveryIDs[0]).State)
	p.receiver.Script(200)
	p.followText("Release")
	require.Equal(t, webhook.EndpointEnabled, p.storedEndpoint(e.ID).State)
	require.Equal(t, webhook.StateSucceeded, p.settled(receipt.DeliveryIDs[0]).State)

	p.receiver.Script(200)
	p.followText("Ping")
	require.Contains(t, string(p.receiver.Wait(t, 2)[1].Body), webhook.PingType)
	items, err := p.d.ListDeliveries(t.Context(), webhook.DeliveryQuery{EventType: webhook.PingType})
	require.NoError(t, err)
	require.Len(t, items, 1)
	p.settled(items[0].ID)

	p.fill("#grace", "now")
	p.followText("Rotate secret")
	rotated := p.storedEndpoint(e.ID).Secrets
	require.Len(t, rotated, 1)
	require.NotEqual(t, e.Secrets[0].Value, rotated[0].Value)
	require.Equal(t, rotated[0].Value, p.text("#secret"))
	p.open("endpoints/" + e.ID)
	require.NotContains(t, p.text("body"), rotated[0].Value, "it is shown once")
	p.receiver.Trust(rotated[0].Value)

	p.fill("#reason", "contract ended")
	p.followText("Disable")
	require.Equal(t, webhook.EndpointDisabled, p.storedEndpoint(e.ID).State)
	require.Contains(t, p.text(".says"), "contract ended")
	p.followText("Enable")
	require.Equal(t, webhook.EndpointEnabled, p.storedEndpoint(e.ID).State)
}

func TestWalkSearch(t *testing.T) {
	p := visit(t, single)
	e := p.endpoint()
	p.receiver.Script(200)
	d := p.send("order.created")
	p.open("")
	for _, search := range [][2]string{{d.ID, "order.created Delivered"}, {d.EventID, "order.created"}, {e.ID, "127.0.0.1"}, {"order.created", "Deliveries"}} {
		p.fill("#find", search[0])
		p.submit("#find")
		require.Contains(t, p.heading(), search[1], search[0])
	}
	require.Equal(t, 1, p.rows())
}

// What is not wanted any more is canceled, and the overview says in numbers what its pictures show.
func TestWalkCancel(t *testing.T) {
	p := visit(t, operator)
	e := p.endpoint()
	p.receiver.Script(503, 503, 503, 200)
	for range 3 {
		p.send("order.paid")
	}
	p.send("order.created")
	require.NoError(t, p.d.PauseEndpoint(t.Context(), e.ID))
	receipt, err := p.d.Send(t.Context(), webhook.Event{Type: "order.created", Payload: []byte("{}")})
	require.NoError(t, err)
	p.open("deliveries/" + receipt.DeliveryIDs[0])
	require.Contains(t, p.text(".says"), "Its endpoint is paused or disabled. It is paused.")
	p.followText("Cancel")
	require.Contains(t, p.text(".note"), "The delivery was canceled.")
	canceled := p.stored(receipt.DeliveryIDs[0])
	require.Equal(t, webhook.StateCanceled, canceled.State)
	require.Contains(t, p.text(".says"), "Canceled by a person")

	b, err := p.d.BulkRetry(t.Context(), webhook.DeliveryQuery{AllTenants: true, EventType: "order.paid"}, webhook.BulkRetryOptions{Rate: 0.1})
	require.NoError(t, err)
	p.open("bulk-retries/" + b.ID)
	p.followText("Cancel")
	require.Contains(t, p.text(".note"), "The bulk retry is being canceled.")
	p.waitFor(`document.querySelector("h1 .badge").textContent === "Canceled"`)
	b, err = p.d.GetBulkRetry(t.Context(), b.ID)
	require.NoError(t, err)
	require.Equal(t, webhook.BulkRetryCanceled, b.State)
	require.Less(t, b.Requeued, int64(3))

	stats, err := p.d.Stats(t.Context(), webhook.StatsQuery{AllTenants: true})
	require.NoError(t, err)
	var succeeded, failed int64
	for _, h := range stats.Hours {
		succeeded, failed = succeeded+h.Succeeded, failed+h.Failed
	}
	require.Equal(t, []int64{1, 3}, []int64{succeeded, failed})
	column := func(n int) int64 {
		return eval[int64](p, fmt.Sprintf(`[...document.querySelectorAll("#numbers tbody tr")].reduce((sum, row) => sum + Number(row.cells[%d].textContent), 0)`, n))
	}
	for _, page := range []string{"", "?range=7d"} {
		p.open(page)
		p.click("#numbers summary")
		require.Equal(t, []int64{succeeded, failed}, []int64{column(1), column(2)}, page)
	}
}

// Updates come by themselves, until they are paused.
func TestWalkLive(t *testing.T) {
	p := visit(t, single)
	p.endpoint()
	p.receiver.Script(200, 200, 200)
	p.send("first")
	p.open("deliveries")
	require.Equal(t, 1, p.rows())
	p.send("second")
	p.waitFor(`document.querySelectorAll("[data-rows] tbody tr").length === 2`)
	require.Equal(t, "Pause updates", p.text("[data-live-toggle]"))
	p.click("[data-live-toggle]")
	require.Equal(t, "Updates are paused.", p.text("[data-live-say]"))
	p.send("third")
	asked := len(p.seen())
	p.waitFor(fmt.Sprintf(`(window.began ??= Date.now()) + %d < Date.now()`, 4000)) // more than the interval
	require.Equal(t, 2, p.rows())
	require.Len(t, p.seen(), asked, "a paused page asks for nothing")
	p.click("[data-live-toggle]")
	p.waitFor(`document.querySelectorAll("[data-rows] tbody tr").length === 3`)
}

func TestWalkDarkMode(t *testing.T) {
	p := visit(t, single)
	p.prefers("dark")
	p.open("deliveries?status=failed")
	back := func() string { return eval[string](p, `getComputedStyle(document.documentElement).backgroundColor`) }
	dark, light := "rgb(15, 17, 21)", "rgb(248, 248, 250)"
	require.Equal(t, dark, back())
	p.followFoot("Light")
	require.Equal(t, light, back())
	require.Equal(t, p.base+"deliveries?status=failed", eval[string](p, "location.href"), "back to where it was")
	p.open("endpoints")
	require.Equal(t, light, back())
	p.followFoot("Dark")
	p.prefers("light")
	require.Equal(t, dark, back())
	p.followFoot("Auto")
	require.Equal(t, light, back())
}

func TestWalkByKeyboard(t *testing.T) {
	p := visit(t, single)
	p.endpoint()
	p.receiver.Script(503, 503)
	p.send("first")
	last := p.send("second")
	p.open("deliveries")
	focused := func() string { return eval[string](p, `document.activeElement.textContent`) }
	p.press("\t")
	require.Equal(t, "Skip to content", focused())
	p.press("\r")
	require.Equal(t, "main", eval[string](p, `document.activeElement.id`))
	p.press("j")
	require.Equal(t, "second", focused())
	p.press("jj")
	require.Equal(t, "first", focused())
	p.press("k")
	p.press("x")
	require.Equal(t, last.ID, eval[string](p, `document.querySelector("tbody :checked").value`))
	p.press("x")
	p.press("?")
	require.True(t, eval[bool](p, `document.querySelector("#keys").open`))
	p.press("\x1b")
	require.False(t, eval[bool](p, `document.querySelector("#keys").open`))
	p.press("p")
	require.Equal(t, "Resume updates", p.text("[data-live-toggle]"))
	p.press("p")

	p.press("j")
	if focused() != "second" {
		p.press("k")
	}
	p.pressAndGo("\r")
	require.Contains(t, p.heading(), "second Failed")
	for eval[string](p, `document.activeElement.textContent.trim()`) != "Retry now" {
		p.press("\t")
	}
	require.Equal(t, "solid", eval[string](p, `getComputedStyle(document.activeElement).outlineStyle`), "the focus can be seen")
	p.receiver.Script(200)
	p.pressAndGo("\r")
	p.until(last.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })

	p.press("/")
	require.Equal(t, "find", eval[string](p, `document.activeElement.id`))
	eval[string](p, `document.activeElement.value = ""`) // a made-up key press types although the page prevents it
	p.press("we_x?")
	require.Equal(t, "we_x?", eval[string](p, `document.activeElement.value`), "keys in a field are text")
	p.press("\x1b")

	p.open("deliveries")
	p.click("[data-keys-open]")
	p.click("[data-keys-on]")
	p.press("\x1b")
	p.press("/")
	require.NotEqual(t, "find", eval[string](p, `document.activeElement.id`), "single keys can be turned off")
}

func TestWalkWithoutJavaScript(t *testing.T) {
	p := visit(t, operator)
	p.withoutScripts()
	e := p.endpoint()
	p.receiver.Script(503, 503, 200)
	a, b := p.send("order.paid"), p.send("order.paid")
	p.send("order.paid")
	p.open("")
	require.True(t, eval[bool](p, `document.querySelector("[data-live-bar]").hidden`))
	p.open("deliveries?status=failed")
	p.fill("#f-type", "order.paid")
	p.followText("Filter")
	require.Equal(t, 2, p.rows())
	p.follow("[data-rows] .row")
	p.receiver.Script(200)
	p.followText("Retry now")
	p.until(b.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })

	p.open("deliveries?status=failed")
	p.click("tbody input[type=checkbox]")
	p.followText("Retry selected")
	require.Equal(t, "Retry 1 delivery?", p.heading())
	p.receiver.Script(503)
	p.followText("Retry 1 delivery")
	p.until(a.ID, func(d webhook.Delivery) bool { return d.AttemptCount == 2 && d.State.Final() })

	p.open("deliveries")
	p.followText("Retry all that match…")
	require.Equal(t, "Retry 1 delivery?", p.heading())
	p.receiver.Script(200)
	p.followText("Retry 1 delivery")
	p.until(a.ID, func(d webhook.Delivery) bool { return d.State == webhook.StateSucceeded })

	p.open("endpoints/" + e.ID)
	p.followText("Pause")
	require.Equal(t, webhook.EndpointPaused, p.storedEndpoint(e.ID).State)
	p.followFoot("Dark")
	require.Equal(t, "rgb(15, 17, 21)", eval[string](p, `getComputedStyle(document.documentElement).backgroundColor`))
}

// Who may not write is offered nothing to press.
func TestWalkReadOnly(t *testing.T) {
	p := visit(t, console.Access{AllTenants: true})
	e := p.endpoint()
	p.receiver.Script(503)
	d := p.send("order.created")
	for _, path := range []string{"", "deliveries", "deliveries/" + d.ID, "endpoints/" + e.ID, "events/" + d.EventID, "bulk-retries"} {
		p.open(path)
		require.Zero(t, eval[int](p, `document.querySelectorAll("main form[method=post] button, main input[type=checkbox]").length`), path)
	}
}

func (p *person) submit(css string) {
	p.Helper()
	p.click(css)
	p.pressAndGo("\r")
}
