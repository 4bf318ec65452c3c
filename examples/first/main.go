package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

func main() {
	ctx := context.Background()
	store := must(sqlite.Open("webhooks.db")) // one file, created if it is missing
	defer store.Close()
	d := must(webhook.New(store, webhook.Config{}))
	endpoint := must(d.CreateEndpoint(ctx, webhook.Endpoint{
		URL: os.Args[1], AllowPrivate: webhook.Loopback, // loopback: only to try it out on this machine
	}))
	fmt.Println("The receiver verifies with", endpoint.Secrets[0].Value)
	receipt := must(d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{"order":1}`)}))
	// It is on disk now. RunOnce delivers what is due; a service calls Run in a goroutine.
	if err := d.RunOnce(ctx); err != nil {
		log.Fatal(err)
	}
	for _, id := range receipt.DeliveryIDs {
		delivery := must(d.GetDelivery(ctx, id))
		fmt.Println(delivery.ID, delivery.State, "after attempt", delivery.AttemptCount, delivery.LastErrorCode)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
