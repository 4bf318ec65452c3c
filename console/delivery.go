package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/outhook/webhook"
)

// attemptsShown bounds the page of a delivery that was retried for ever. The API has them all.
const attemptsShown = 100

func (c *call) deliveryPage(alert *problem) error {
	d, err := c.delivery(c.r.PathValue("id"))
	if err != nil {
		return err
	}
	e, err := c.d.GetEndpoint(c.r.Context(), d.EndpointID)
	name := shortURL(e.URL)
	if err != nil {
		if name, err = c.endpointName(d.EndpointID); err != nil {
			return err
		}
	}
	l := c.layout("deliveries", d.EventType)
	l.Live = !d.State.Final()
	status := http.StatusOK
	if alert != nil {
		l.Alert, status = alert.Detail, alert.Status
		l.Here = "deliveries/" + d.ID
	}
	data := struct {
		layout
		webhook.Delivery
		Endpoint     string
		EndpointGone bool
		Timeline     []step
		Older        int
		Body         body
		Curl         string
		CanRetry     bool
		CanCancel    bool
	}{
		layout: l, Delivery: d, Endpoint: name, EndpointGone: name == deletedEndpoint, Body: newBody(d.Event.ContentType, d.Event.Payload),
		CanRetry:  c.Write && d.State != webhook.StateSending && d.Event.ErasedAt == nil && name != deletedEndpoint,
		CanCancel: c.Write && !d.State.Final(),
	}
	for _, a := range slices.Backward(d.Attempts) {
		if len(data.Timeline) == attemptsShown {
			data.Older = len(d.Attempts) - attemptsShown
			break
		}
		data.Timeline = append(data.Timeline, newStep(a))
	}
	if target, method := lastTarget(d, e); target != "" && d.Event.Payload != nil {
		data.Curl = curlCommand(method, target, d.Event)
	}
	return c.render(status, "delivery", data)
}

// lastTarget is where the last attempt went, or where the first will go.
func lastTarget(d webhook.Delivery, e webhook.Endpoint) (target, method string) {
	if n := len(d.Attempts); n > 0 {
		return d.Attempts[n-1].URL, d.Attempts[n-1].Method
	}
	if e.Method == "" {
		return e.URL, http.MethodPost
	}
	return e.URL, e.Method
}

func (c *call) actOnDelivery(notice string, act func(ctx context.Context, deliveryID string) error) error {
	id := c.r.PathValue("id")
	if err := c.requeue(id, act); err != nil {
		if p := c.problemOf(err); p.Status == http.StatusConflict {
			return c.deliveryPage(p)
		}
		return err
	}
	c.redirect(http.StatusSeeOther, c.base()+"deliveries/"+id+"?notice="+notice)
	return nil
}

// step is an attempt in the timeline.
type step struct {
	webhook.DeliveryAttempt
	Phases          []phase
	RequestHeaders  []header
	ResponseHeaders []header
	Answer          body
	Captured        bool // there is an answer's body to show, maybe an empty one
}

type header struct{ Name, Value string }

// phase is a part of the time that an attempt took, drawn in hundredths.
type phase struct {
	Name, Class string
	MS          float64
	X, Width    float64
}

func newStep(a webhook.DeliveryAttempt) step {
	s := step{
		DeliveryAttempt: a, Phases: phases(a),
		RequestHeaders: headers(a.RequestHeaders), ResponseHeaders: headers(a.ResponseHeaders),
	}
	if a.ResponseBodyPreview != nil {
		s.Captured = true
		s.Answer = newBody(a.ResponseHeaders["Content-Type"], []byte(*a.ResponseBodyPreview))
		s.Answer.Cut = a.ResponseBodyTruncated
	}
	return s
}

func headers(m map[string]string) []header {
	var list []header
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, header{readable(name), readable(m[name])})
	}
	return list
}

func phases(a webhook.DeliveryAttempt) []phase {
	if a.Timings == nil {
		return nil
	}
	t := *a.Timings
	list := []phase{
		{Name: "DNS", Class: "dns", MS: t.DNSMS}, {Name: "Connect", Class: "connect", MS: t.ConnectMS},
		{Name: "TLS", Class: "tls", MS: t.TLSMS}, {Name: "Waiting", Class: "ttfb", MS: t.TTFBMS},
	}
	total := t.DNSMS + t.ConnectMS + t.TLSMS + t.TTFBMS
	rest := float64(a.DurationMS) - total
	if rest >= 1 {
		list = append(list, phase{Name: "Rest", Class: "rest", MS: rest})
		total += rest
	}
	if total <= 0 {
		return nil
	}
	list = slices.DeleteFunc(list, func(p phase) bool { return p.MS <= 0 })
	x := 0.0
	for i := range list {
		list[i].X, list[i].Width = round(x), round(list[i].MS/total*100)
		x += list[i].MS / total * 100
	}
	return list
}

// body is a payload or an answer, made to be read.
type body struct {
	Text   string
	Kind   string // its content type
	Size   int
	Binary bool
	Cut    bool // there is more
}

const bodyShown = 64 << 10

func newBody(kind string, content []byte) body {
	b := body{Kind: readable(kind), Size: len(content)}
	if media, _, _ := mime.ParseMediaType(kind); media == "application/json" || strings.HasSuffix(media, "+json") {
		var out bytes.Buffer
		// What is nested absurdly deep would grow with the square of its depth.
		if json.Indent(&out, content, "", "  ") == nil && out.Len() <= 8*len(content)+1024 {
			content = out.Bytes()
		}
	}
	if len(content) > bodyShown {
		content, b.Cut = content[:bodyShown], true
		for len(content) > 0 && !utf8.Valid(content[max(0, len(content)-utf8.UTFMax):]) && len(content) > bodyShown-utf8.UTFMax {
			content = content[:len(content)-1]
		}
	}
	if !utf8.Valid(content) {
		b.Binary = true
		b.Text = hexDump(content)
		return b
	}
	b.Text = readable(string(content))
	return b
}

// hexDump shows the beginning of what is not text.
func hexDump(content []byte) string {
	var out strings.Builder
	for i, line := range slices.Collect(slices.Chunk(content[:min(len(content), 1024)], 16)) {
		fmt.Fprintf(&out, "%04x  % x\n", i*16, line)
	}
	return out.String()
}
