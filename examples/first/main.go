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
	store, err := sqlite.Open("webhooks.db") // one file, created if it is missing
	check(err)
	defer store.Close()
	d, err := webhook.New(store, webhook.Config{})
	check(err)
	endpoint, err := d.CreateEndpoint(ctx, webhook.Endpoint{
		URL: os.Args[1], AllowPrivate: webhook.Loopback, // loopback: only to try it out on this machine
	})
	check(err)
	fmt.Println("The receiver verifies with", endpoint.Secrets[0].Value)
	receipt, err := d.Send(ctx, webhook.Event{Type: "order.created", Payload: []byte(`{"order":1}`)})
	check(err)            // no error: it is on disk
	check(d.RunOnce(ctx)) // delivers what is due; a service calls Run in a goroutine
	for _, id := range receipt.DeliveryIDs {
		delivery, err := d.GetDelivery(ctx, id)
		check(err)
		fmt.Println(delivery.ID, delivery.State, "after attempt", delivery.AttemptCount, delivery.LastErrorCode)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
