package docs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

func ExampleNewGuard_client() {
	dialer := &net.Dialer{Control: webhook.NewGuard().Control}
	client := &http.Client{
		Transport:     &http.Transport{DialContext: dialer.DialContext}, // no Proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}

	_, err := client.Get("http://127.0.0.1:1/")
	fmt.Println(errors.Is(err, webhook.ErrBlockedAddress))
	// Output: true
}

func ExampleNewGuard() {
	err := webhook.NewGuard().Check("tcp", "192.168.1.10:443") // ErrBlockedAddress

	fmt.Println(errors.Is(err, webhook.ErrBlockedAddress))
	// Output: true
}

func ExampleEndpoint_allowPrivate() {
	ctx := context.Background()
	d, err := webhook.New(memory.New(), webhook.Config{})
	check(err)
	func() {
		_, err := d.CreateEndpoint(ctx, webhook.Endpoint{
			URL:          "http://10.1.2.3:8080/hook",
			AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32")},
		})
		check(err)
	}()
	_, err = d.CreateEndpoint(ctx, webhook.Endpoint{URL: "http://10.1.2.3:8080/hook"})
	fmt.Println(errors.Is(err, webhook.ErrInvalid))
	// Output: true
}

func ExampleNewClient() {
	store := memory.New()

	client, err := webhook.NewClient(webhook.ClientConfig{
		AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	})
	if err != nil {
		log.Fatal(err)
	}
	d, err := webhook.New(store, webhook.Config{HTTPClient: client})
	if err != nil {
		log.Fatal(err)
	}

	_, err = d.CreateEndpoint(context.Background(), webhook.Endpoint{URL: "http://10.1.2.3:8080/hook"})
	fmt.Println(err)
	// Output: <nil>
}

func check(err error) {
	if err != nil {
		log.Panic(err)
	}
}
