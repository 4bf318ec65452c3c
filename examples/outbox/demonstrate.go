package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// receiver notes the orders that it is told of.
type receiver struct {
	mu   sync.Mutex
	got  map[string]int
	sham int           // orders that were rolled back
	news chan struct{} // holds one
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var o order
	if err := json.NewDecoder(q.Body).Decode(&o); err != nil {
		http.Error(w, "not an order", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[o.ID]++
	if o.Declined {
		r.sham++
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// demonstrate kills services in the middle, lets one finish and compares.
func demonstrate(o options) error {
	r := &receiver{got: map[string]int{}, news: make(chan struct{}, 1)}
	server := httptest.NewServer(r)
	defer server.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	service := func(name string) (*exec.Cmd, *bytes.Buffer) {
		c := exec.Command(self, "-service", name, "-url", server.URL, "-postgres", o.Postgres, "-file", o.File,
			"-orders", fmt.Sprint(o.Orders))
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, os.Stderr
		return c, &out
	}
	for n := range o.Kills {
		c, _ := service(fmt.Sprintf("service%d", n))
		if err := c.Start(); err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for range o.Orders / 10 { // it is in the middle by then
			select {
			case <-r.news:
			case err := <-ended:
				return fmt.Errorf("the service ended by itself: %w", err)
			}
		}
		if err := c.Process.Kill(); err != nil {
			return err
		}
		<-ended // it was killed, and says so
	}
	c, out := service("last")
	if err := c.Run(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	orders := strings.Fields(out.String())
	lost, twice := 0, 0
	for _, id := range orders {
		switch n := r.got[id]; {
		case n == 0:
			lost++
		case n > 1:
			twice++
		}
		delete(r.got, id)
	}
	fmt.Printf("%d orders; %d of them not sent, %d sent more than once; sent without an order: %d, for a rolled-back one: %d\n",
		len(orders), lost, twice, len(r.got), r.sham)
	if lost > 0 || len(r.got) > 0 || r.sham > 0 {
		return fmt.Errorf("that is wrong")
	}
	return nil
}
