package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/outhook/webhook"
)

// problem is an error as RFC 9457 has it, and the error page's content.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Field is the parameter or field that is wrong, if it is one.
	Field string `json:"field,omitempty"`
}

func (p *problem) Error() string { return p.Detail }

func newProblem(status int, format string, args ...any) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

func badField(field, format string, args ...any) *problem {
	p := newProblem(http.StatusBadRequest, format, args...)
	p.Field = field
	return p
}

var (
	errForbidden   = newProblem(http.StatusForbidden, "You may not see this.")
	errCrossOrigin = newProblem(http.StatusForbidden, "Another site made your browser send this request. Nothing was changed.")
	errReadOnly    = newProblem(http.StatusForbidden, "You may look, but not change anything.")
	errNoPage      = newProblem(http.StatusNotFound, "There is no such page.")
	errNotFound    = newProblem(http.StatusNotFound, "There is no such record.")
	errMethod      = newProblem(http.StatusMethodNotAllowed, "This address does not take that method.")
	errTooLarge    = newProblem(http.StatusRequestEntityTooLarge, "The request is larger than 1 MiB.")
)

// problemOf says what an error means to the caller. The store's own errors stay on the server.
func (c *call) problemOf(err error) *problem {
	var p *problem
	var field *webhook.FieldError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, webhook.ErrNotFound):
		return errNotFound
	case errors.As(err, &field):
		return badField(field.Field, "%s %s", field.Field, field.Message)
	case errors.As(err, &tooLarge):
		return errTooLarge
	case errors.Is(err, webhook.ErrConflict), errors.Is(err, webhook.ErrEndpointDisabled):
		return newProblem(http.StatusConflict, "%s", plainError(err))
	case errors.Is(err, errors.ErrUnsupported):
		return newProblem(http.StatusNotImplemented, "This store cannot do that.")
	case c.r.Context().Err() == context.DeadlineExceeded:
		return newProblem(http.StatusServiceUnavailable, "That took too long. Narrow the filters or try again.")
	case errors.Is(err, webhook.ErrClosed):
		return newProblem(http.StatusServiceUnavailable, "The store is closed.")
	}
	c.cfg.Logger.ErrorContext(c.r.Context(), "webhook: console", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
	return newProblem(http.StatusInternalServerError, "The store failed. The server's log says more.")
}

// plainError is an error's text without the names that are for programs.
func plainError(err error) string {
	text := err.Error()
	for _, prefix := range []string{"webhook: conflict: ", "webhook: endpoint is disabled: ", "webhook: "} {
		if rest, found := strings.CutPrefix(text, prefix); found {
			return strings.ToUpper(rest[:1]) + rest[1:] + "."
		}
	}
	return text
}

// fail answers with an error: a page to those who asked for one.
func (c *call) fail(err error) {
	if c.r.Context().Err() == context.Canceled {
		return // nobody waits for the answer
	}
	p := c.problemOf(err)
	if c.wantsPage() {
		c.errorPage(p)
		return
	}
	c.w.Header().Set("Content-Type", "application/problem+json")
	c.w.WriteHeader(p.Status)
	_ = json.NewEncoder(c.w).Encode(p)
}

// wantsPage tells people's browsers from programs: the API is JSON whoever asks.
func (c *call) wantsPage() bool {
	path := strings.TrimPrefix(c.r.URL.Path, "/")
	return !strings.HasPrefix(path, "webhook-") && path != "openapi.json" && strings.Contains(c.r.Header.Get("Accept"), "text/html")
}
