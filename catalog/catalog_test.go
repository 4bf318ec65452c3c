package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/catalog"
	"github.com/outhook/webhook/store/memory"
)

// OrderCreated is told to customers.
type OrderCreated struct {
	Order int    `json:"order"`
	Note  string `json:"note,omitempty"`
}

// EventType implements webhook.Typed.
func (OrderCreated) EventType() string { return "order.created" }

func ExampleNew() {
	types, err := catalog.New(
		catalog.TypeOf[OrderCreated]("An order was placed."),
		catalog.Type{Name: "order.paid", Schema: json.RawMessage(`{"type":"object","required":["order"]}`)},
	)
	check(err)
	d, err := webhook.New(memory.New(), webhook.Config{Catalog: types})
	check(err)

	ctx := context.Background()
	_, err = webhook.Publish(ctx, d, OrderCreated{Order: 1})
	fmt.Println(err)
	_, err = d.Send(ctx, webhook.Event{Type: "order.payed", Payload: []byte(`{"order":1}`)})
	fmt.Println(err)
	// Output:
	// <nil>
	// webhook: Event is not as the catalogue says: type "order.payed" is not listed
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func TestCheck(t *testing.T) {
	c, err := catalog.New(
		catalog.TypeOf[OrderCreated](""),
		catalog.Type{Name: "free"},
		catalog.Type{Name: "order.paid", Schema: json.RawMessage(`{"type":"object","required":["order"],"properties":{"order":{"type":"integer"}}}`),
			Example: json.RawMessage(`{"order":1,"more":true}`), Deprecated: true},
	)
	require.NoError(t, err)
	for _, event := range []struct {
		eventType, payload, problem string
	}{
		{"order.created", `{"order":1}`, ""},
		{"order.created", `{"order":1,"note":"x"}`, ""},
		{"order.created", `{"order":"1"}`, "order"},
		{"order.created", `{"note":"x"}`, "order"},
		{"order.created", `{"order":1,"other":2}`, "other"},
		{"order.created", `{"order":1} {}`, "follows"},
		{"order.created", `order`, "not JSON"},
		{"order.created", ``, "not JSON"},
		{"order.paid", `{"order":1.5}`, "integer"},
		{"order.paid", `[]`, "object"},
		{"free", `no JSON at all`, ""},
		{"other", `{}`, "not listed"},
	} {
		err := c.Check(webhook.Event{Type: event.eventType, Payload: []byte(event.payload)})
		if event.problem == "" {
			require.NoError(t, err, event)
		} else {
			require.ErrorContains(t, err, event.problem, event)
		}
	}
	text, err := json.Marshal(c)
	require.NoError(t, err)
	var types []catalog.Type
	require.NoError(t, json.Unmarshal(text, &types))
	require.Equal(t, []string{"free", "order.created", "order.paid"}, []string{types[0].Name, types[1].Name, types[2].Name})
	require.True(t, types[2].Deprecated)
}

func TestNewRefuses(t *testing.T) {
	for name, types := range map[string][]catalog.Type{
		"no name":     {{}},
		"twice":       {{Name: "a"}, {Name: "a"}},
		"no schema":   {{Name: "a", Schema: json.RawMessage(`{"type":7}`)}},
		"no JSON":     {{Name: "a", Schema: json.RawMessage(`{`)}},
		"remote":      {{Name: "a", Schema: json.RawMessage(`{"$ref":"https://example.com/schema"}`)}},
		"bad example": {{Name: "a", Schema: json.RawMessage(`{"type":"object"}`), Example: json.RawMessage(`[]`)}},
	} {
		_, err := catalog.New(types...)
		require.ErrorContains(t, err, "catalog: ", name)
	}
	require.Panics(t, func() { catalog.TypeOf[unencodable]("") })
}

type unencodable struct{ C chan int }

func (unencodable) EventType() string { return "a" }
