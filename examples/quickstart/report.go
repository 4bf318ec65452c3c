package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
)

// watch shows progress until no delivery is pending, or ctx ends.
func watch(ctx context.Context, d *webhook.Dispatcher, tenant string) error {
	show := progressLine()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// Stats reads counters: polling it is cheap.
		s, err := d.Stats(context.WithoutCancel(ctx), webhook.StatsQuery{TenantID: tenant})
		if err != nil {
			return err
		}
		done := s.Pending == 0 || ctx.Err() != nil
		show(fmt.Sprintf("pending %d, succeeded %d, given up %d", s.Pending, s.Succeeded, s.Exhausted+s.Gone), done)
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// progressLine returns a function that rewrites one line on a terminal, and elsewhere prints a line
// whenever the text changes.
func progressLine() func(text string, last bool) {
	start, shown := time.Now(), ""
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return func(text string, last bool) {
		line := fmt.Sprintf("%5.1fs  %s", time.Since(start).Seconds(), text)
		switch {
		case terminal:
			fmt.Printf("\r%-70s", line)
			if last {
				fmt.Println()
			}
		case text != shown:
			fmt.Println(line)
		}
		shown = text
	}
}

// report opens the file anew and prints what is in it.
func report(ctx context.Context, o options) error {
	store, err := sqlite.Open(o.db)
	if err != nil {
		return err
	}
	defer store.Close()
	d, err := webhook.New(store, webhook.Config{})
	if err != nil {
		return err
	}
	fmt.Printf("\nRead back from %s\n", o.db)
	example, err := printDeliveries(ctx, d, o.tenant)
	if err != nil || example == "" {
		return err
	}
	return printAttempts(ctx, d, example)
}

// printDeliveries prints the latest deliveries and returns the ID of the one with the most to tell.
func printDeliveries(ctx context.Context, d *webhook.Dispatcher, tenant string) (string, error) {
	const most = 15
	names, err := endpointNames(ctx, d, tenant)
	if err != nil {
		return "", err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nDELIVERY\tEVENT\tENDPOINT\tSTATE\tATTEMPTS\tLAST ANSWER")
	count, example := 0, webhook.DeliveryListItem{}
	for item, err := range d.Deliveries(ctx, webhook.DeliveryQuery{TenantID: tenant}) { // newest first
		if err != nil {
			return "", err
		}
		if count++; count <= most {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", item.ID, item.EventType,
				names[item.EndpointID], item.State, item.AttemptCount, lastAnswer(item.LastAttempt))
		}
		if example.ID == "" || tellsMore(item, example) {
			example = item
		}
	}
	if count > most {
		fmt.Fprintf(table, "… and %d more\n", count-most)
	}
	return example.ID, table.Flush()
}

// tellsMore prefers what succeeded in the end, and then what took more attempts.
func tellsMore(a, b webhook.DeliveryListItem) bool {
	if won := a.State == webhook.StateSucceeded; won != (b.State == webhook.StateSucceeded) {
		return won
	}
	return a.AttemptCount > b.AttemptCount
}

func endpointNames(ctx context.Context, d *webhook.Dispatcher, tenant string) (map[string]string, error) {
	endpoints, err := d.ListEndpoints(ctx, webhook.EndpointQuery{TenantID: tenant})
	names := map[string]string{}
	for _, e := range endpoints {
		names[e.ID] = e.Description
	}
	return names, err
}

func lastAnswer(last *webhook.LastAttempt) string {
	switch {
	case last == nil:
		return "-"
	case last.ResponseStatus != nil:
		return strconv.Itoa(*last.ResponseStatus)
	}
	return *last.ErrorMessage
}

func printAttempts(ctx context.Context, d *webhook.Dispatcher, deliveryID string) error {
	delivery, err := d.GetDelivery(ctx, deliveryID)
	if err != nil {
		return err
	}
	fmt.Printf("\nAttempts of %s, payload %s\n", delivery.ID, delivery.Event.Payload)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nNUMBER\tSTARTED\tTRIGGER\tSTATUS\tANSWER\tTOOK\tBODY")
	for _, a := range delivery.Attempts {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%d ms\t%s\n", a.AttemptNumber, a.StartedAt.Local().Format("15:04:05.000"),
			a.Trigger, a.Status, answer(a), a.DurationMS, preview(a))
	}
	return table.Flush()
}

func answer(a webhook.DeliveryAttempt) string {
	if a.StatusCode == nil {
		return string(a.ErrorCode)
	}
	return strconv.Itoa(*a.StatusCode)
}

func preview(a webhook.DeliveryAttempt) string {
	if a.ResponseBodyPreview == nil || *a.ResponseBodyPreview == "" {
		return "-"
	}
	return strconv.Quote(strings.TrimSpace(*a.ResponseBodyPreview))
}
