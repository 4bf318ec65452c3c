// Package catalog lists the event types that a service sends, for its documentation and to check every
// event against at Send:
//
//	types, err := catalog.New(
//		catalog.TypeOf[OrderCreated]("An order was placed."),
//		catalog.Type{Name: "order.paid", Schema: json.RawMessage(`{"type":"object","required":["order"]}`)},
//	)
//	d, err := webhook.New(store, webhook.Config{Catalog: types})
//
// Send then refuses, as webhook.ErrInvalid, an event whose type is not listed, and one whose payload does
// not fit its type's JSON Schema (draft 2020-12, by github.com/google/jsonschema-go). So a change that
// would break your customers' receivers fails in your own tests.
//
// A schema is optional. A Catalog encodes as JSON, the types by name, to be served to customers.
package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/outhook/webhook"
)

// Type is a type of event.
type Type struct {
	Name        string `json:"name"` // as Event.Type
	Description string `json:"description,omitempty"`
	// Schema is a JSON Schema that payloads must fit; empty: any payload will do. It must be self-contained:
	// nothing is loaded for it.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Example is a payload, which New holds against Schema; may be empty.
	Example json.RawMessage `json:"example,omitempty"`
	// Deprecated tells customers not to rely on it any more. It is sent like any other.
	Deprecated bool `json:"deprecated,omitempty"`
}

// TypeOf returns the Type of a Go type that names its event type, with the schema that its fields and
// their tags (json, jsonschema) say. Fields without omitempty are required, others than these are not
// allowed. It panics if T has no schema, as a channel or a function: a fault of the program.
func TypeOf[T webhook.Typed](description string) Type {
	var zero T
	schema, err := jsonschema.For[T](nil)
	if err != nil {
		panic(fmt.Sprintf("catalog: %v", err))
	}
	text, err := json.Marshal(schema)
	if err != nil {
		panic(fmt.Sprintf("catalog: schema of %T: %v", zero, err))
	}
	return Type{Name: zero.EventType(), Description: description, Schema: text}
}

// Catalog is a fixed list of types. It implements webhook.Catalog, and is safe for concurrent use.
type Catalog struct {
	types map[string]entry
}

type entry struct {
	Type
	resolved *jsonschema.Resolved // nil: any payload will do
}

var _ webhook.Catalog = (*Catalog)(nil)

// New returns a Catalog. It is an error if a name is empty or there twice, a schema is none, or an example
// does not fit.
func New(types ...Type) (*Catalog, error) {
	c := &Catalog{types: make(map[string]entry, len(types))}
	for _, t := range types {
		if t.Name == "" {
			return nil, errors.New("catalog: a type has no name")
		}
		if _, ok := c.types[t.Name]; ok {
			return nil, fmt.Errorf("catalog: type %q is there twice", t.Name)
		}
		resolved, err := resolve(t.Schema)
		if err != nil {
			return nil, fmt.Errorf("catalog: schema of %q: %w", t.Name, err)
		}
		e := entry{t, resolved}
		if len(t.Example) > 0 {
			if err := e.check(t.Example); err != nil {
				return nil, fmt.Errorf("catalog: example of %q: %w", t.Name, err)
			}
		}
		c.types[t.Name] = e
	}
	return c, nil
}

func resolve(text json.RawMessage) (*jsonschema.Resolved, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(text, &schema); err != nil {
		return nil, err
	}
	return schema.Resolve(nil)
}

// Types returns all types by name.
func (c *Catalog) Types() []Type {
	types := make([]Type, 0, len(c.types))
	for _, name := range slices.Sorted(maps.Keys(c.types)) {
		types = append(types, c.types[name].Type)
	}
	return types
}

// MarshalJSON writes all types by name.
func (c *Catalog) MarshalJSON() ([]byte, error) { return json.Marshal(c.Types()) }

// Check says what is wrong with an event: its type is not listed, or its payload is not JSON that fits the
// type's schema.
func (c *Catalog) Check(ev webhook.Event) error {
	e, ok := c.types[ev.Type]
	if !ok {
		return fmt.Errorf("type %q is not listed", ev.Type)
	}
	if err := e.check(ev.Payload); err != nil {
		return fmt.Errorf("payload of %q: %w", ev.Type, err)
	}
	return nil
}

func (e *entry) check(payload []byte) error {
	if e.resolved == nil {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("is not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("is not JSON: something follows the value")
	}
	return e.resolved.Validate(value)
}
