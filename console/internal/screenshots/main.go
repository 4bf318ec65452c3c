// Screenshots takes a picture of each page of the console, light and dark, over a made-up past.
//
//	go run ./console/internal/screenshots -out /tmp/shots
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/console"
	"github.com/outhook/webhook/console/internal/browser"
	"github.com/outhook/webhook/console/internal/sample"
	"github.com/outhook/webhook/store/memory"
)

func main() {
	out := flag.String("out", "screenshots", "`folder` for the pictures")
	only := flag.String("only", "", "take only the pictures whose name contains this `text`")
	full := flag.Bool("full", false, "whole pages instead of what a window shows")
	flag.Parse()
	if err := run(context.Background(), *out, *only, *full); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string, full bool) error {
	path := browser.Path()
	if path == "" {
		return fmt.Errorf("no Chromium found: apt-get install chromium, or set CHROMIUM")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	d, pages, err := past(ctx)
	if err != nil {
		return err
	}
	theme := ""
	handler := console.New(d, console.Config{
		Authorize: func(*http.Request) (console.Access, bool) { return console.Access{AllTenants: true, Write: true}, true },
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "outhook-theme", Value: theme})
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	ctx, stop := browser.New(ctx, path)
	defer stop()
	for _, theme = range []string{"light", "dark"} {
		for _, p := range pages {
			for _, width := range p.widths {
				name := strings.TrimSuffix(fmt.Sprintf("%s-%s-%d", p.name, theme, width), "-1200")
				if !strings.Contains(name, only) {
					continue
				}
				if err := shoot(ctx, server.URL+p.path, filepath.Join(out, name+".png"), width, full); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
	}
	return nil
}

func shoot(ctx context.Context, url, file string, width int64, full bool) error {
	height := int64(760)
	if width < 600 {
		height = 720
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height), chromedp.Navigate(url)); err != nil {
		return err
	}
	take := chromedp.CaptureScreenshot()
	if full {
		take = chromedp.FullScreenshot(100)
	}
	png, err := chromedp.Run(ctx, take)
	if err != nil {
		return err
	}
	fmt.Printf("%s %d KB\n", file, len(png)>>10)
	return os.WriteFile(file, png, 0o644)
}

type view struct {
	name, path string
	widths     []int64
}

// past makes two days of deliveries and says what is worth a picture of it.
func past(ctx context.Context) (*webhook.Dispatcher, []view, error) {
	store := memory.New()
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		return nil, nil, err
	}
	now := time.Now().UTC()
	ids, err := sample.Fill(ctx, d, store, sample.Plan{Now: now, Span: 48 * time.Hour, Steps: 288, Events: 60, Receivers: sample.Shop(), Seed: 7})
	if err != nil {
		return nil, nil, err
	}
	if err := d.PauseEndpoint(ctx, ids[4]); err != nil {
		return nil, nil, err
	}
	if err := d.DisableEndpoint(ctx, ids[3], "nothing but failures since "+now.Add(-30*time.Hour).Format(time.RFC3339)); err != nil {
		return nil, nil, err
	}
	bulk, err := d.BulkRetry(ctx, webhook.DeliveryQuery{TenantID: "globex", EndpointID: ids[3], Since: now.Add(-24 * time.Hour)}, webhook.BulkRetryOptions{Rate: 50})
	if err != nil {
		return nil, nil, err
	}
	delivery, err := interesting(ctx, d, ids[1])
	if err != nil {
		return nil, nil, err
	}
	both, wide := []int64{1200, 360}, []int64{1200}
	return d, []view{
		{"overview", "/", both},
		{"deliveries", "/deliveries", both},
		{"deliveries-filtered", "/deliveries?status=failed&errorCode=CONNECTION_REFUSED&since=24h", wide},
		{"delivery", "/deliveries/" + delivery.ID, both},
		{"events", "/events", both},
		{"event", "/events/" + delivery.EventID, wide},
		{"endpoints", "/endpoints", both},
		{"endpoint", "/endpoints/" + ids[3], both},
		{"bulk-retries", "/bulk-retries", wide},
		{"bulk-retry-new", "/bulk-retries/new?status=failed&endpointId=" + ids[3], wide},
		{"bulk-retry", "/bulk-retries/" + bulk.ID, both},
		{"error", "/deliveries/wd_nothing", wide},
	}, nil
}

// interesting is a delivery that failed and then arrived.
func interesting(ctx context.Context, d *webhook.Dispatcher, endpointID string) (webhook.DeliveryListItem, error) {
	var found webhook.DeliveryListItem
	for item, err := range d.Deliveries(ctx, webhook.DeliveryQuery{AllTenants: true, EndpointID: endpointID, Status: webhook.StatusSuccess, Limit: 500}) {
		if err != nil {
			return found, err
		}
		if item.AttemptCount > found.AttemptCount {
			found = item
		}
	}
	return found, nil
}
