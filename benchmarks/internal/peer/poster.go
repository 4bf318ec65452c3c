package peer

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/outhook/webhook/benchmarks/internal/load"
)

// Poster makes requests as a careful user of net/http would write them who wants speed: connections kept for all
// workers, nothing asked for that is not needed, every answer read to its end.
type Poster struct {
	client http.Client
	url    string
	hashes sync.Pool // of HMACs
}

// NewPoster returns a Poster to the task's receiver.
func NewPoster(task *load.Task) *Poster {
	key := make([]byte, 24)
	_, _ = rand.Read(key) // it never fails
	return &Poster{
		url: "http://" + task.Receiver + "/hook",
		client: http.Client{
			Timeout: 15 * time.Second,
			Transport: &http.Transport{
				MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute, DisableCompression: true,
			},
		},
		hashes: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
	}
}

// Post sends a payload. With an ID it is signed, as Standard Webhooks has it.
func (p *Poster) Post(ctx context.Context, id string, payload []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if id != "" {
		p.sign(r.Header, id, payload)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the receiver said %s", resp.Status)
	}
	return nil
}

func (p *Poster) sign(h http.Header, id string, payload []byte) {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	mac := p.hashes.Get().(interface {
		io.Writer
		Sum([]byte) []byte
		Reset()
	})
	mac.Reset()
	_, _ = io.WriteString(mac, id+"."+at+".")
	_, _ = mac.Write(payload)
	signature := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	p.hashes.Put(mac)
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", at)
	h.Set("Webhook-Signature", signature)
}

// Close closes the connections.
func (p *Poster) Close() { p.client.CloseIdleConnections() }
