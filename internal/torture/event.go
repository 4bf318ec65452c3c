package main

import (
	"bytes"
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"

	"github.com/outhook/webhook"
)

// eventFor makes the event of a key: always the same, so that whoever sees it can tell whether it is
// whole.
func eventFor(key string) webhook.Event {
	random := rand.New(rand.NewPCG(hashOf(key), 0))
	types := []string{"order.created", "order.paid", "invoice.sent", "user.deleted"}
	size := random.IntN(2000)
	if random.IntN(20) == 0 {
		size = random.IntN(60_000) // over many pages of the database
	}
	fill := make([]byte, size)
	for i := range fill {
		fill[i] = 'a' + byte(random.IntN(26))
	}
	payload, _ := json.Marshal(body{Key: key, Fill: string(fill)})
	return webhook.Event{Type: types[random.IntN(len(types))], Payload: payload, IdempotencyKey: key}
}

type body struct {
	Key  string `json:"key"`
	Fill string `json:"fill"`
}

// keyOf reads the key of a payload; ok says that it is the whole payload of that key.
func keyOf(payload []byte) (key string, ok bool) {
	var b body
	if json.Unmarshal(payload, &b) != nil {
		return "", false
	}
	return b.Key, bytes.Equal(payload, eventFor(b.Key).Payload)
}

// expectedPaths are the endpoints, by path, that an event of that type goes to.
func expectedPaths(eventType string) []int {
	switch eventType {
	case "order.created":
		return []int{0, 1}
	case "order.paid":
		return []int{0, 1, 2}
	case "invoice.sent":
		return []int{0, 3}
	}
	return []int{0}
}

func hashOf(text string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	return h.Sum64()
}
