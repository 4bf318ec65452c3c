package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// Config configures the console. Without Authorize it answers 403 to everything.
type Config struct {
	// Authorize says whether a request is let in, and what it may see and do. It is asked first, for
	// every request, also for those that only load a style sheet. It must be safe for concurrent use.
	Authorize func(r *http.Request) (Access, bool)
	// Redact returns what is shown in place of an event's payload, in pages and in the API; nil shows
	// nothing. It gets a copy. Default: payloads are shown as they are. Previews of responses are not
	// redacted: if receivers may repeat what they got, see webhook.Config.PreviewBytes.
	Redact func(r *http.Request, e webhook.Event) []byte
	// Title stands at the top of the pages. Default: "Webhooks".
	Title string
	// Timeout is how long a request may keep the store busy. Default: 10 s.
	Timeout time.Duration
	// CrossOrigin refuses requests that other sites make a user's browser do. Default: only the same
	// origin may write.
	CrossOrigin *http.CrossOriginProtection
	// Logger gets what goes wrong on the server's side. Default: slog.Default().
	Logger *slog.Logger
}

// Access is what a request may see and do. The zero value may look at the tenant "".
type Access struct {
	// AllTenants is for operators.
	AllTenants bool
	// TenantID is the one tenant whose records exist for this request, unless AllTenants.
	TenantID string
	// Write allows retrying, canceling, pausing, pinging, rotating secrets and the like.
	Write bool
}

// sees reports whether a tenant's records exist for the request.
func (a Access) sees(tenantID string) bool { return a.AllTenants || a.TenantID == tenantID }

// New returns the console of a dispatcher. The dispatcher need not be running in this process.
func New(d *webhook.Dispatcher, cfg Config) http.Handler {
	if cfg.Title == "" {
		cfg.Title = "Webhooks"
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.CrossOrigin == nil {
		cfg.CrossOrigin = http.NewCrossOriginProtection()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c := &console{d: d, cfg: cfg, mux: http.NewServeMux()}
	for _, r := range append(apiRoutes(), pageRoutes()...) {
		c.handle(r)
	}
	return c
}

type console struct {
	d   *webhook.Dispatcher
	cfg Config
	mux *http.ServeMux
}

// call is one request that was let in.
type call struct {
	*console
	w http.ResponseWriter
	r *http.Request
	Access
}

const maxRequestBody = 1 << 20

// ServeHTTP lets in whom Authorize wants, refuses what another site made a browser send, and only then
// looks at the path.
func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	access, ok := c.authorize(r)
	call := &call{console: c, w: w, r: r, Access: access}
	if !ok {
		call.fail(errForbidden)
		return
	}
	if err := c.cfg.CrossOrigin.Check(r); err != nil {
		call.fail(errCrossOrigin)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), c.cfg.Timeout)
	defer cancel()
	r = r.WithContext(context.WithValue(ctx, accessKey{}, access))
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	if prefix := r.URL.Path; !strings.HasPrefix(prefix, "/") && strings.HasSuffix(pathOf(r), "/"+prefix) {
		r.URL = withSlash(r.URL) // the slash went with the prefix
	}
	call.r = r
	// The mux would redirect a path like a//b, but does not know where it is mounted.
	if _, pattern := c.mux.Handler(r); pattern == "" || !clean(r.URL.Path) {
		call.noRoute()
		return
	}
	c.mux.ServeHTTP(w, r)
}

type accessKey struct{}

func (c *console) authorize(r *http.Request) (Access, bool) {
	if c.cfg.Authorize == nil {
		return Access{}, false
	}
	return c.cfg.Authorize(r)
}

// contentPolicy allows our own files and nothing else: no inline script or style, no frame around us,
// and no text that becomes markup or code in a script's hands.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// setHeaders keeps a page to itself. The referrer goes to our own pages only; with no-referrer browsers
// send "Origin: null" with our own forms, and over plain HTTP nothing else tells them from others'.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// A route is something to ask for. What changes something (POST) needs Access.Write, unless it is for all.
type route struct {
	pattern string
	serve   func(*call) error
	all     bool
}

func (c *console) handle(to route) {
	c.mux.HandleFunc(to.pattern, func(w http.ResponseWriter, r *http.Request) {
		call := &call{console: c, w: w, r: r}
		call.Access, _ = r.Context().Value(accessKey{}).(Access)
		if err := to.allowed(call); err != nil {
			call.fail(err)
		} else if err := to.serve(call); err != nil {
			call.fail(err)
		}
	})
}

func (to route) allowed(c *call) error {
	if c.r.Method == http.MethodPost && !c.Write && !to.all {
		return errReadOnly
	}
	return nil
}

// noRoute answers for a path that does not exist, or not with this method, which the mux knows.
func (c *call) noRoute() {
	if c.r.URL.Path == "" { // mounted without its slash
		c.redirect(http.StatusPermanentRedirect, lastSegment(c.r)+"/")
		return
	}
	answer := headerRecorder{header: http.Header{}}
	c.mux.ServeHTTP(&answer, c.r)
	if answer.status == http.StatusMethodNotAllowed {
		c.w.Header().Set("Allow", answer.header.Get("Allow"))
		c.fail(errMethod)
		return
	}
	c.fail(errNoPage)
}

// pathOf is the path that the browser asked for, with whatever the handler is mounted under.
func pathOf(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

func lastSegment(r *http.Request) string {
	path := pathOf(r)
	return path[strings.LastIndexByte(path, '/')+1:]
}

func withSlash(u *url.URL) *url.URL {
	copied := *u
	copied.Path = "/" + u.Path
	if u.RawPath != "" {
		copied.RawPath = "/" + u.RawPath
	}
	return &copied
}

func clean(p string) bool { return p == "" || p == "/" || path.Clean(p) == p }

// headerRecorder takes the mux's answer to a path that it does not know.
type headerRecorder struct {
	header http.Header
	status int
}

func (h *headerRecorder) Header() http.Header         { return h.header }
func (h *headerRecorder) Write(b []byte) (int, error) { return len(b), nil }
func (h *headerRecorder) WriteHeader(status int)      { h.status = status }

// base leads from the page that is asked for to the console's root, wherever that is mounted.
func (c *call) base() string {
	depth := strings.Count(strings.TrimPrefix(c.r.URL.EscapedPath(), "/"), "/")
	if depth == 0 {
		return "./"
	}
	return strings.Repeat("../", depth)
}

// redirect sends the browser to a place relative to the page that it asked for. (http.Redirect would
// make it absolute, without the prefix.)
func (c *call) redirect(status int, location string) {
	c.w.Header().Set("Location", location)
	c.w.WriteHeader(status)
}
