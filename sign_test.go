package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

// The vectors that the libraries of Standard Webhooks and of its author share.
const (
	vectorID      = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorBody    = `{"test": 2432232314}`
	vectorHMAC    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorPrivate = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	vectorPublic  = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorV1      = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	vectorV1a     = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

var vectorTime = time.Unix(1614265330, 0)

func TestSignVectors(t *testing.T) {
	for secret, want := range map[string]string{vectorHMAC: vectorV1, vectorPrivate: vectorV1a} {
		got, err := webhook.Sign(secret, vectorID, vectorTime.Add(999*time.Millisecond), []byte(vectorBody))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	public, err := webhook.Secret{Value: vectorPrivate}.PublicKey()
	require.NoError(t, err)
	require.Equal(t, vectorPublic, public)
}

func TestSignRefuses(t *testing.T) {
	for name, secret := range map[string]string{
		"empty":           "",
		"no prefix":       strings.TrimPrefix(vectorHMAC, "whsec_"),
		"public key":      vectorPublic,
		"not base64":      "whsec_!!!!",
		"line break":      vectorHMAC[:20] + "\n" + vectorHMAC[20:],
		"no padding":      "whsec_" + strings.TrimRight(base64.StdEncoding.EncodeToString(make([]byte, 32)), "="),
		"loose bits":      "whsec_" + strings.Repeat("A", 33) + "B==",
		"23 bytes":        "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)),
		"65 bytes":        "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
		"short seed":      "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"foreign public":  "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 64)),
		"other's padding": vectorPrivate + "=",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := webhook.Sign(secret, vectorID, vectorTime, []byte(vectorBody))
			require.ErrorIs(t, err, webhook.ErrInvalid)
			if len(secret) > 10 {
				require.NotContains(t, err.Error(), secret[6:])
			}
		})
	}
	for _, id := range []string{"", "a.b", "a b", "a\r\nb", "a\x00b", "é", "a\x7f"} {
		_, err := webhook.Sign(vectorHMAC, id, vectorTime, nil)
		require.ErrorIs(t, err, webhook.ErrInvalid, "%q", id)
	}
}

func TestSignTakesBareSeed(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(vectorPrivate, "whsk_"))
	require.NoError(t, err)
	got, err := webhook.Sign("whsk_"+base64.StdEncoding.EncodeToString(raw[:32]), vectorID, vectorTime, []byte(vectorBody))
	require.NoError(t, err)
	require.Equal(t, vectorV1a, got)
}

func TestStandardSignerSignsWithEverySecret(t *testing.T) {
	signer, _ := webhook.NewStandardSigner()
	h := http.Header{"Webhook-Id": {"forged", "twice"}}
	for range 3 { // the first use of a key and later ones take different ways
		err := signer.Sign(h, webhook.Message{
			ID: vectorID, Timestamp: vectorTime, Body: []byte(vectorBody), Secrets: []string{vectorHMAC, vectorPrivate},
		})
		require.NoError(t, err)
		require.Equal(t, http.Header{
			"Webhook-Id":        {vectorID},
			"Webhook-Timestamp": {"1614265330"},
			"Webhook-Signature": {vectorV1 + " " + vectorV1a},
		}, h)
	}
	h.Add("Webhook-Id", "x") // the values share an array: none may run into another
	require.Equal(t, []string{"1614265330"}, h["Webhook-Timestamp"])
}

func TestStandardSignerRefuses(t *testing.T) {
	signer, _ := webhook.NewStandardSigner()
	for name, m := range map[string]webhook.Message{
		"no secret":  {ID: vectorID, Timestamp: vectorTime},
		"no ID":      {Timestamp: vectorTime, Secrets: []string{vectorHMAC}},
		"bad secret": {ID: vectorID, Timestamp: vectorTime, Secrets: []string{vectorHMAC, "whsec_secretstuff"}},
	} {
		h := http.Header{}
		err := signer.Sign(h, m)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secretstuff")
		require.Empty(t, h, name)
	}
}

func TestStandardSignerConcurrently(t *testing.T) {
	signer, held := webhook.NewStandardSigner()
	secrets := make([]string, 8)
	for i := range secrets {
		secrets[i] = webhook.NewSecret().Value
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				secret := secrets[(worker+i)%len(secrets)]
				body := fmt.Appendf(nil, "%d of %d", i, worker)
				h := http.Header{}
				if err := signer.Sign(h, webhook.Message{ID: "evt_1", Timestamp: vectorTime, Body: body, Secrets: []string{secret}}); err != nil {
					t.Error(err)
					return
				}
				want, _ := webhook.Sign(secret, "evt_1", vectorTime, body)
				if got := h.Get("webhook-signature"); got != want {
					t.Errorf("got %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, len(secrets), held())
}

func TestStandardSignerForgetsOldKeys(t *testing.T) {
	signer, held := webhook.NewStandardSigner()
	m := webhook.Message{ID: "evt_1", Timestamp: vectorTime}
	for range 3 * webhook.CachedKeys {
		m.Secrets = []string{webhook.NewSecret().Value, vectorHMAC}
		require.NoError(t, signer.Sign(http.Header{}, m))
	}
	require.LessOrEqual(t, held(), 2*webhook.CachedKeys)
}

func TestStandardSignerAllocates(t *testing.T) {
	signer, _ := webhook.NewStandardSigner()
	h := make(http.Header, 8)
	m := webhook.Message{ID: "evt_1", Timestamp: vectorTime, Body: make([]byte, 1024), Secrets: []string{vectorHMAC, webhook.NewSecret().Value}}
	allocs := testing.AllocsPerRun(1000, func() {
		if err := signer.Sign(h, m); err != nil {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, allocs, 3.0)
}

// The other library signs and verifies v1 only.
func TestAgainstStandardWebhooksLibrary(t *testing.T) {
	for size := range 70 {
		secret := webhook.NewSecret().Value
		oracle, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		body := []byte(strings.Repeat("é{\x00.", size))
		now := time.Now()

		theirs, err := oracle.Sign("msg_1", now, body)
		require.NoError(t, err)
		h := http.Header{}
		h.Set("webhook-id", "msg_1")
		h.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
		h.Set("webhook-signature", theirs)
		require.NoError(t, webhook.Verify(body, h, secret))

		signer, _ := webhook.NewStandardSigner()
		h = http.Header{}
		m := webhook.Message{ID: "msg_1", Timestamp: now, Body: body, Secrets: []string{webhook.NewSigningKey().Value, webhook.NewSecret().Value, secret}}
		require.NoError(t, signer.Sign(h, m))
		require.NoError(t, oracle.Verify(body, h))
		require.Error(t, oracle.Verify(append(body, ' '), h))
	}
}

// A customer who already verifies another scheme keeps it: here a plain hex HMAC over the body, as
// many services send it.
type hexHMAC struct{ header string }

func (s hexHMAC) Sign(h http.Header, m webhook.Message) error {
	mac := hmac.New(sha256.New, []byte(m.Secrets[0]))
	mac.Write(m.Body)
	h.Set(s.header, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	return nil
}

func ExampleSigner() {
	cfg := webhook.Config{Signer: hexHMAC{header: "X-Acme-Signature-256"}}

	h := http.Header{}
	err := cfg.Signer.Sign(h, webhook.Message{Body: []byte(`{"total":42}`), Secrets: []string{"their old secret"}})
	fmt.Println(h.Get("X-Acme-Signature-256"), err)
	// Output: sha256=44f4e5208fe53f868c4c4033b46399a4d92aa2c04702fe87da60fb0d9ddaae65 <nil>
}

func BenchmarkStandardSigner(b *testing.B) {
	secrets := []string{webhook.NewSecret().Value, webhook.NewSecret().Value}
	private := []string{webhook.NewSigningKey().Value}
	for name, live := range map[string][]string{"v1": secrets[:1], "v1 twice": secrets, "v1a": private} {
		b.Run(name, func(b *testing.B) {
			signer, _ := webhook.NewStandardSigner()
			m := webhook.Message{ID: "evt_01jv8m7qfj6xj9gkz7a4s2h8ey", Timestamp: time.Now(), Body: make([]byte, 1024), Secrets: live}
			h := make(http.Header, 8)
			b.SetBytes(int64(len(m.Body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := signer.Sign(h, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
