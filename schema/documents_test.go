package schema_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/schema"
)

// field is what a document says of one of its fields. Types are JSON Schema's words.
type field struct {
	types    []string
	required bool
}

// The four documents are held against the JSON Schemas written from them and against what the
// shapes encode to, so that neither the schemas nor the shapes can drift.
func TestDocuments(t *testing.T) {
	for _, tt := range []struct {
		document, schema string
		read             func(*testing.T, string) map[string]field
		fields           int
		full, zero       any
	}{
		{"invocation-attempt.txt", "invocation-attempt.schema.json", readInvocationAttempt, 9,
			schema.NewInvocationAttempt(failedAttempt()), schema.InvocationAttempt{}},
		{"delivery-attempt.txt", "delivery-attempt.schema.json", readDeliveryAttempt, 13,
			schema.NewDeliveryAttempt(fullAttempt()), schema.DeliveryAttempt{}},
		{"delivery-list-item.txt", "delivery-list-item.schema.json", readDeliveryListItem, 14,
			schema.NewDeliveryListItem(fullItem()), schema.DeliveryListItem{}},
		{"hookdeck-event-attempt.txt", "event-attempt.schema.json", readEventAttempt, 20,
			everyEventAttempt(), schema.EventAttempt{}},
	} {
		t.Run(tt.document, func(t *testing.T) {
			document := tt.read(t, readFile(t, tt.document))
			require.Len(t, document, tt.fields)
			require.Equal(t, document, fieldsOfSchema(t, tt.schema))

			full := asMap(t, tt.full)
			require.ElementsMatch(t, slices.Collect(maps.Keys(document)), slices.Collect(maps.Keys(full)))
			zero := asMap(t, tt.zero)
			for name, f := range document {
				if f.required {
					require.Contains(t, zero, name)
				}
				if value, stands := zero[name]; stands && value == nil {
					require.Contains(t, f.types, "null", name)
				}
			}
		})
	}
}

func TestLastAttemptDocument(t *testing.T) {
	_, nested := listItemEntries(t, readFile(t, "delivery-list-item.txt"))
	require.Equal(t, map[string]field{
		"attemptedAt":    {[]string{"string"}, false},
		"errorMessage":   {[]string{"string"}, false},
		"responseStatus": {[]string{"integer"}, false},
	}, nested)

	item := fullItem()
	answered := asMap(t, schema.NewDeliveryListItem(item).LastAttempt)
	item.LastAttempt.ResponseStatus, item.LastAttempt.ErrorMessage = nil, new("ETIMEDOUT")
	unanswered := asMap(t, schema.NewDeliveryListItem(item).LastAttempt)
	maps.Copy(answered, unanswered)
	require.ElementsMatch(t, slices.Collect(maps.Keys(nested)), slices.Collect(maps.Keys(answered)))
}

// The patterns, enums and formats that the garbled document names are those of the schema.
func TestDeliveryListItemConstraints(t *testing.T) {
	document := readFile(t, "delivery-list-item.txt")
	properties := readSchema(t, "delivery-list-item.schema.json")["properties"].(map[string]any)

	patterns := regexp.MustCompile(`\^\w+\[0-9a-z\]\{26\}\$`).FindAllString(document, -1)
	var ours []string
	dateTimes := 0
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		property := properties[name].(map[string]any)
		if pattern, ok := property["pattern"].(string); ok {
			ours = append(ours, pattern)
		}
		if property["format"] == "date-time" {
			dateTimes++
		}
	}
	require.ElementsMatch(t, patterns, ours)
	require.Equal(t, strings.Count(document, "Format: date-time"), dateTimes+1, "and one of lastAttempt")

	listed := regexp.MustCompile(`- (\w+)(?:\n(\.\w+))?[ \n]`).FindAllStringSubmatch(document, -1)
	var values []any
	for _, match := range listed {
		values = append(values, match[1]+match[2])
	}
	types := properties["eventType"].(map[string]any)["enum"].([]any)
	statuses := properties["status"].(map[string]any)["enum"].([]any)
	require.Equal(t, values, append(slices.Clone(types), statuses...))
}

// The schema of EventAttempt is the printed one, less the keyword that JSON Schema does not know.
func TestEventAttemptSchemaIsThePrintedOne(t *testing.T) {
	printed := printedSchema(t, readFile(t, "hookdeck-event-attempt.txt"))
	dropNullable(printed)
	require.Equal(t, printed, readSchema(t, "event-attempt.schema.json"))
}

func readInvocationAttempt(t *testing.T, document string) map[string]field {
	types := map[string]string{
		"*Optional[str]*": "string", "*Optional[int]*": "integer", "Dict[str, *str*]": "object",
		"[Optional[models.WebhookInvocationAttemptStatus]](../models/webhookinvocationattemptstatus.md)": "string",
		"[date](https://docs.python.org/3/library/datetime.html#date-objects)":                           "string",
	}
	fields := map[string]field{}
	for _, cells := range tableRows(document) {
		require.Contains(t, types, cells[1])
		fields[cells[0]] = field{[]string{types[cells[1]]}, cells[2] != ":heavy_minus_sign:"}
	}
	return fields
}

func readDeliveryAttempt(t *testing.T, document string) map[string]field {
	types := map[string][]string{
		"`string`": {"string"}, "`number`": {"number"}, "`string | null`": {"string", "null"},
		"`number | null`":                                   {"number", "null"},
		"`Record<string, string> | null`":                   {"object", "null"},
		"`\"initial\" | \"auto_retry\" | \"manual_retry\"`": {"string"},
	}
	fields := map[string]field{}
	for _, cells := range tableRows(document) {
		require.Contains(t, types, cells[1])
		fields[cells[0]] = field{types[cells[1]], strings.Contains(cells[2], "`required`")}
		declared := "  " + cells[0] + ": " + strings.Trim(cells[1], "`") + ";"
		require.Contains(t, document, declared, "table and interface agree")
	}
	return fields
}

func readDeliveryListItem(t *testing.T, document string) map[string]field {
	fields, _ := listItemEntries(t, document)
	return fields
}

func readEventAttempt(t *testing.T, document string) map[string]field {
	printed := printedSchema(t, document)
	dropNullable(printed)
	fields := fieldsOf(printed)

	_, table, _ := strings.Cut(document, "Name Type Description\n")
	table, _, _ = strings.Cut(table, "View JSON Schema")
	var names []string
	for line := range strings.Lines(table) {
		names = append(names, strings.Fields(line)[0])
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(fields)), names, "table and schema agree")
	return fields
}

// entry finds a field of the garbled list item: "attemptType: integer\nCount required" says that
// attemptCount is a required integer. The rest of a name begins the next line.
var entry = regexp.MustCompile(`- ([a-z]+)Type: (string|integer|object)` +
	`[^\n]*\n(?:(Count|At|Endpoint Id|Id|Type|Key|Attempt|Message|Status|Retry At|Email) )?`)

func listItemEntries(t *testing.T, document string) (fields, nested map[string]field) {
	fields, nested = map[string]field{}, map[string]field{}
	found := entry.FindAllStringSubmatchIndex(document, -1)
	for i, at := range found {
		end := len(document)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		name := document[at[2]:at[3]]
		if at[6] >= 0 {
			name += strings.ReplaceAll(document[at[6]:at[7]], " ", "")
		}
		f := field{[]string{document[at[4]:at[5]]}, strings.Contains(document[at[0]:end], "required")}
		// The text has lost its indentation; what these three say can only be of an attempt.
		if slices.Contains([]string{"attemptedAt", "errorMessage", "responseStatus"}, name) {
			nested[name] = f
		} else {
			fields[name] = f
		}
	}
	require.Len(t, found, len(fields)+len(nested))
	return fields, nested
}

func publishedErrorCodes(t *testing.T) []string {
	printed := printedSchema(t, readFile(t, "hookdeck-event-attempt.txt"))
	var codes []string
	for _, code := range printed["$defs"].(map[string]any)["AttemptErrorCodes"].(map[string]any)["enum"].([]any) {
		codes = append(codes, code.(string))
	}
	return codes
}

func printedSchema(t *testing.T, document string) map[string]any {
	_, text, found := strings.Cut(document, "Raw ↑\n")
	require.True(t, found)
	var printed map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &printed))
	return printed
}

func dropNullable(node any) {
	switch node := node.(type) {
	case map[string]any:
		delete(node, "nullable")
		for _, child := range node {
			dropNullable(child)
		}
	case []any:
		for _, child := range node {
			dropNullable(child)
		}
	}
}

// tableRows returns the cells of a Markdown table whose rows begin with a name in backquotes.
func tableRows(document string) (rows [][]string) {
	for line := range strings.Lines(document) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		line = strings.ReplaceAll(line, `\|`, "\x00") // an escaped bar is text
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|\n"), "|") {
			cells = append(cells, strings.ReplaceAll(strings.TrimSpace(cell), "\x00", "|"))
		}
		cells[0] = strings.Trim(cells[0], "`")
		rows = append(rows, cells)
	}
	return rows
}

func fieldsOfSchema(t *testing.T, name string) map[string]field {
	return fieldsOf(readSchema(t, name))
}

func fieldsOf(root map[string]any) map[string]field {
	required, _ := root["required"].([]any)
	fields := map[string]field{}
	for name, property := range root["properties"].(map[string]any) {
		var types []string
		switch of := property.(map[string]any)["type"].(type) {
		case string:
			types = []string{of}
		case []any:
			for _, one := range of {
				types = append(types, one.(string))
			}
		}
		fields[name] = field{types, slices.Contains(required, any(name))}
	}
	return fields
}

// everyEventAttempt has all keys; no real attempt has both an error code and a time of success.
func everyEventAttempt() schema.EventAttempt {
	a := fullAttempt()
	a.ErrorCode = webhook.CodeUnknown
	return schema.NewEventAttempt(a)
}

// failedAttempt was answered with a 500.
func failedAttempt() webhook.DeliveryAttempt {
	a := fullAttempt()
	a.Status, a.StatusCode, a.ErrorCode = webhook.AttemptFailed, new(500), webhook.CodeBadResponse
	return a
}

func readSchema(t *testing.T, name string) map[string]any {
	var root map[string]any
	require.NoError(t, json.Unmarshal([]byte(readFile(t, name)), &root))
	return root
}

func readFile(t *testing.T, name string) string {
	text, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(text)
}

// asMap returns what v encodes to, numbers as they are written.
func asMap(t *testing.T, v any) map[string]any {
	encoded, err := json.Marshal(v)
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(string(encoded)))
	decoder.UseNumber()
	var keys map[string]any
	require.NoError(t, decoder.Decode(&keys))
	return keys
}
