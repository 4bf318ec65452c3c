package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

var (
	pages  = parsePages()
	assets = readAssets()
)

func pageRoutes() []route {
	return []route{
		{pattern: "GET /{$}", serve: (*call).overview},
		{pattern: "GET /deliveries", serve: (*call).deliveriesPage},
		{pattern: "POST /deliveries/retry", serve: (*call).retrySelected},
		{pattern: "GET /deliveries/{id}", serve: func(c *call) error { return c.deliveryPage(nil) }},
		{pattern: "POST /deliveries/{id}/retry", serve: func(c *call) error { return c.actOnDelivery("retried", c.d.Retry) }},
		{pattern: "POST /deliveries/{id}/cancel", serve: func(c *call) error { return c.actOnDelivery("canceled", c.d.Cancel) }},
		{pattern: "GET /events", serve: (*call).eventsPage},
		{pattern: "GET /events/{id}", serve: (*call).eventPage},
		{pattern: "GET /endpoints", serve: (*call).endpointsPage},
		{pattern: "GET /endpoints/{id}", serve: func(c *call) error { return c.endpointPage(nil, nil) }},
		{pattern: "POST /endpoints/{id}/pause", serve: actOnEndpoint("pause", (*webhook.Dispatcher).PauseEndpoint)},
		{pattern: "POST /endpoints/{id}/unpause", serve: actOnEndpoint("unpause", (*webhook.Dispatcher).UnpauseEndpoint)},
		{pattern: "POST /endpoints/{id}/enable", serve: actOnEndpoint("enable", (*webhook.Dispatcher).EnableEndpoint)},
		{pattern: "POST /endpoints/{id}/disable", serve: (*call).disableEndpoint},
		{pattern: "POST /endpoints/{id}/ping", serve: actOnEndpoint("ping", ping)},
		{pattern: "POST /endpoints/{id}/rotate-secret", serve: onEndpoint((*call).rotateSecret)},
		{pattern: "GET /bulk-retries", serve: (*call).bulkRetriesPage},
		{pattern: "GET /bulk-retries/new", serve: (*call).newBulkRetryPage},
		{pattern: "POST /bulk-retries", serve: (*call).createBulkRetry},
		{pattern: "GET /bulk-retries/{id}", serve: func(c *call) error { return c.bulkRetryPage(nil) }},
		{pattern: "POST /bulk-retries/{id}/cancel", serve: (*call).cancelBulkRetry},
		{pattern: "GET /search", serve: (*call).search},
		{pattern: "POST /theme", serve: (*call).setTheme, all: true},
		{pattern: "GET /assets/{name}", serve: (*call).asset},
	}
}

// layout is what every page has.
type layout struct {
	Site    string
	Section string // the entry of the navigation that is current
	Title   string
	Base    string // leads to the console's root
	Here    string // this page from there
	Theme   string // light, dark or ""
	Notice  string // what the last action did
	Alert   string // why it did not
	Live    bool   // the page renews itself
	Access
}

func (c *call) layout(section, title string) layout {
	l := layout{
		Site: c.cfg.Title, Section: section, Title: title, Base: c.base(), Access: c.Access,
		Notice: notices[c.r.URL.Query().Get("notice")],
	}
	query := c.r.URL.Query()
	query.Del("notice")
	l.Here = strings.TrimPrefix(c.r.URL.EscapedPath(), "/")
	if c.r.Method != http.MethodGet {
		l.Here, _, _ = strings.Cut(l.Here, "/") // the list that it belongs to
	} else if len(query) > 0 {
		l.Here += "?" + query.Encode()
	}
	if cookie, err := c.r.Cookie(themeCookie); err == nil && (cookie.Value == "light" || cookie.Value == "dark") {
		l.Theme = cookie.Value
	}
	return l
}

// notices are what a page may say after an action. The address carries only the key, so nobody can put
// words into our mouth.
var notices = map[string]string{
	"retried":  "The delivery is due now.",
	"canceled": "The delivery was canceled.",
	"pause":    "The endpoint is paused. What comes for it is held.",
	"unpause":  "The endpoint is released. What was held goes out, slowly at first.",
	"enable":   "The endpoint is enabled. What was held goes out, slowly at first.",
	"disable":  "The endpoint is disabled.",
	"ping":     "A ping is on its way.",
	"stopped":  "The bulk retry is being canceled.",
	"selected": "The selected deliveries are due now.",
	"partly":   "Some of the selected deliveries could not be retried: an attempt is under way, or their payload or endpoint is gone.",
}

// render writes a page, whole or not at all.
func (c *call) render(status int, name string, data any) error {
	var out bytes.Buffer
	if err := pages[name].ExecuteTemplate(&out, "layout", data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = out.WriteTo(c.w)
	return nil
}

func (c *call) errorPage(p *problem) {
	data := struct {
		layout
		Detail string
	}{c.layout("", fmt.Sprintf("%d %s", p.Status, p.Title)), p.Detail}
	if p == errForbidden {
		data.Site = "" // not even what this is
	}
	if err := c.render(p.Status, "error", data); err != nil {
		c.cfg.Logger.Error("webhook: console", "error", err)
	}
}

func parsePages() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	parsed := map[string]*template.Template{}
	for _, file := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "templates/"), ".html")
		if name != "layout" && name != "parts" {
			parsed[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, file))
		}
	}
	return parsed
}

// An asset's address has a hash of its content, so browsers may keep it.
type asset struct {
	content []byte
	kind    string
	version string
}

var assetKinds = map[string]string{
	"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
}

func readAssets() map[string]asset {
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		panic(err)
	}
	read := map[string]asset{}
	for _, f := range files {
		content, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		_, ext, _ := strings.Cut(f.Name(), ".")
		read[f.Name()] = asset{content: content, kind: assetKinds[ext], version: hex.EncodeToString(sum[:6])}
	}
	return read
}

func assetURL(name string) string { return "assets/" + name + "?v=" + assets[name].version }

func (c *call) asset() error {
	a, found := assets[c.r.PathValue("name")]
	if !found {
		return errNoPage
	}
	c.w.Header().Set("Content-Type", a.kind)
	if c.r.URL.Query().Get("v") == a.version {
		c.w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	}
	_, _ = c.w.Write(a.content)
	return nil
}

const themeCookie = "outhook-theme"

// setTheme works without JavaScript: a form's button, and back to where it stood.
func (c *call) setTheme() error {
	cookie := http.Cookie{Name: themeCookie, Value: c.r.PostFormValue("theme"), MaxAge: int((400 * 24 * time.Hour).Seconds()),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.r.TLS != nil}
	if cookie.Value != "light" && cookie.Value != "dark" {
		cookie.Value, cookie.MaxAge = "", -1 // as the system has it
	}
	http.SetCookie(c.w, &cookie)
	c.goBack()
	return nil
}

var ownPage = regexp.MustCompile(`^[a-z][a-z0-9/_-]*(\?[\w%&=.+:~-]*)?$`)

// goBack leads to the page that a form stood on, if it is one of ours.
func (c *call) goBack(notice ...string) {
	back := c.r.PostFormValue("back")
	if !ownPage.MatchString(back) {
		back = ""
	}
	if len(notice) > 0 {
		separator := "?"
		if strings.Contains(back, "?") {
			separator = "&"
		}
		back += separator + "notice=" + notice[0]
	}
	c.redirect(http.StatusSeeOther, c.base()+back)
}

// search leads to the record with an ID, or to the events of a type.
func (c *call) search() error {
	q := strings.TrimSpace(c.r.URL.Query().Get("q"))
	for prefix, list := range map[string]string{"wd_": "deliveries/", "evt_": "events/", "we_": "endpoints/", "br_": "bulk-retries/"} {
		if strings.HasPrefix(q, prefix) {
			c.redirect(http.StatusSeeOther, list+template.URLQueryEscaper(q))
			return nil
		}
	}
	if strings.HasPrefix(q, "wa_") {
		return badField("q", "An attempt is shown with its delivery: search for the delivery's ID, wd_….")
	}
	target := "deliveries"
	if q != "" {
		target += "?eventType=" + template.URLQueryEscaper(q)
	}
	c.redirect(http.StatusSeeOther, target)
	return nil
}
