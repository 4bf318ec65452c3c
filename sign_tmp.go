package webhook

import "net/http"

// standardSigner stands in until sign.go has the real one; dropped at the merge.
type standardSigner struct{}

func (standardSigner) Sign(h http.Header, m Message) error {
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", m.Timestamp.Format("2006"))
	h.Set("Webhook-Signature", "v1,temporary")
	return nil
}
