package webhook

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzMatch holds the index that Send uses against the plain rule, for whatever subscription and type
// pass validation.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"order.created", "order.created"}, {"order.*", "order.created.eu"}, {"*", "a"}, {"", "a.b"},
		{"a.*,b", "a"}, {"a.*,a.b.*", "a.b.c"}, {"a,a,*", "a"}, {"ord.*", "order.created"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, patterns, eventType string) {
		var types []string
		if patterns != "" {
			types = strings.Split(patterns, ",")
		}
		if validatePatterns(types) != nil || typeProblem(eventType) != "" {
			return
		}
		r := directory{byID: map[string]*known{}, tenants: map[string]*subscriptions{}, d: &Dispatcher{}}
		for n := range 3 {
			k := &known{row: EndpointRow{ID: fmt.Sprint(n)}, endpoint: Endpoint{EventTypes: types}}
			r.replace(k)
		}
		found, _, err := r.match(&Event{Type: eventType})
		require.NoError(t, err)
		want := 0
		if plainMatch(types, eventType) {
			want = 3
		}
		require.Len(t, found, want)
		require.Equal(t, want == 3, matchesType(types, eventType))

		for id := range 3 { // what is taken out leaves nothing behind
			r.replace(&known{row: EndpointRow{ID: fmt.Sprint(id), State: EndpointDeleted}})
		}
		found, _, err = r.match(&Event{Type: eventType})
		require.NoError(t, err)
		require.Empty(t, found)
		for _, s := range r.tenants {
			require.Empty(t, len(s.all)+len(s.exact)+len(s.prefix))
		}
	})
}

// plainMatch is the rule as the documentation puts it.
func plainMatch(types []string, eventType string) bool {
	for _, pattern := range types {
		parent, isPrefix := strings.CutSuffix(pattern, ".*")
		switch {
		case pattern == "*", pattern == eventType:
			return true
		case isPrefix && len(eventType) > len(parent)+1 && eventType[:len(parent)+1] == parent+".":
			return true
		}
	}
	return len(types) == 0
}
