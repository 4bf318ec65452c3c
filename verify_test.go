package webhook_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
)

func signedHeaders(t testing.TB, id string, at time.Time, body []byte, secrets ...string) http.Header {
	t.Helper()
	h := http.Header{}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	for _, secret := range secrets {
		signature, err := webhook.Sign(secret, id, at, body)
		require.NoError(t, err)
		h.Set("webhook-signature", strings.TrimSpace(h.Get("webhook-signature")+" "+signature))
	}
	return h
}

// vectorVerifier lives at the time of the vectors.
func vectorVerifier(secrets ...string) webhook.Verifier {
	return webhook.Verifier{Secrets: secrets, Now: func() time.Time { return vectorTime }}
}

func TestVerifyVectors(t *testing.T) {
	h := http.Header{}
	h.Set("webhook-id", vectorID)
	h.Set("webhook-timestamp", "1614265330")
	for _, secret := range []string{vectorHMAC, vectorPublic, vectorPrivate} {
		h.Set("webhook-signature", vectorV1+" "+vectorV1a)
		require.NoError(t, vectorVerifier(secret).Verify([]byte(vectorBody), h))
		require.ErrorIs(t, vectorVerifier(secret).Verify([]byte(vectorBody+" "), h), webhook.ErrSignatureMismatch)
	}
	h.Set("webhook-signature", vectorV1)
	require.ErrorIs(t, vectorVerifier(vectorPublic).Verify([]byte(vectorBody), h), webhook.ErrSignatureMismatch)
	require.NoError(t, vectorVerifier(webhook.NewSecret().Value, vectorPublic, vectorHMAC).Verify([]byte(vectorBody), h))
}

func TestVerifyHeaders(t *testing.T) {
	tests := map[string]struct {
		change func(h http.Header)
		want   error
	}{
		"as sent":               {func(h http.Header) {}, nil},
		"no id":                 {func(h http.Header) { h.Del("webhook-id") }, webhook.ErrSignatureHeaders},
		"empty id":              {func(h http.Header) { h.Set("webhook-id", "") }, webhook.ErrSignatureHeaders},
		"two ids":               {func(h http.Header) { h.Add("webhook-id", vectorID) }, webhook.ErrSignatureHeaders},
		"dotted id":             {func(h http.Header) { h.Set("webhook-id", vectorID+".1614265330") }, webhook.ErrSignatureHeaders},
		"other id":              {func(h http.Header) { h.Set("webhook-id", "msg_2") }, webhook.ErrSignatureMismatch},
		"no timestamp":          {func(h http.Header) { h.Del("webhook-timestamp") }, webhook.ErrSignatureHeaders},
		"two timestamps":        {func(h http.Header) { h.Add("webhook-timestamp", "1614265330") }, webhook.ErrSignatureHeaders},
		"date":                  {func(h http.Header) { h.Set("webhook-timestamp", "2021-02-25T15:02:10Z") }, webhook.ErrSignatureHeaders},
		"signed timestamp":      {func(h http.Header) { h.Set("webhook-timestamp", "+1614265330") }, webhook.ErrSignatureHeaders},
		"leading zero":          {func(h http.Header) { h.Set("webhook-timestamp", "01614265330") }, webhook.ErrSignatureHeaders},
		"negative timestamp":    {func(h http.Header) { h.Set("webhook-timestamp", "-1") }, webhook.ErrSignatureHeaders},
		"endless timestamp":     {func(h http.Header) { h.Set("webhook-timestamp", "99999999999999999999") }, webhook.ErrSignatureHeaders},
		"other timestamp":       {func(h http.Header) { h.Set("webhook-timestamp", "1614265331") }, webhook.ErrSignatureMismatch},
		"far past":              {func(h http.Header) { h.Set("webhook-timestamp", "0") }, webhook.ErrSignatureTime},
		"far future":            {func(h http.Header) { h.Set("webhook-timestamp", "1000000000000") }, webhook.ErrSignatureTime},
		"no signature":          {func(h http.Header) { h.Del("webhook-signature") }, webhook.ErrSignatureHeaders},
		"blank signature":       {func(h http.Header) { h.Set("webhook-signature", "  ") }, webhook.ErrSignatureHeaders},
		"no version":            {func(h http.Header) { h.Set("webhook-signature", vectorV1[3:]) }, webhook.ErrSignatureHeaders},
		"unknown version":       {func(h http.Header) { h.Set("webhook-signature", "v2,"+vectorV1[3:]) }, webhook.ErrSignatureMismatch},
		"unknown beside":        {func(h http.Header) { h.Set("webhook-signature", "v2,x "+vectorV1) }, nil},
		"cut signature":         {func(h http.Header) { h.Set("webhook-signature", vectorV1[:20]) }, webhook.ErrSignatureMismatch},
		"nothing after version": {func(h http.Header) { h.Set("webhook-signature", "v1,") }, webhook.ErrSignatureMismatch},
		"more after it":         {func(h http.Header) { h.Set("webhook-signature", vectorV1+",x") }, webhook.ErrSignatureMismatch},
		"v1 as v1a":             {func(h http.Header) { h.Set("webhook-signature", "v1a,"+vectorV1[3:]) }, webhook.ErrSignatureMismatch},
		"second of two":         {func(h http.Header) { h.Set("webhook-signature", "v1,AAAA   "+vectorV1) }, nil},
		"second line":           {func(h http.Header) { h["Webhook-Signature"] = []string{"v1,AAAA", vectorV1} }, nil},
		"64 signatures":         {func(h http.Header) { h.Set("webhook-signature", strings.Repeat("v1a,AAAA ", 63)+vectorV1) }, nil},
		"65 signatures":         {func(h http.Header) { h.Set("webhook-signature", strings.Repeat("v2,AAAA ", 64)+vectorV1) }, webhook.ErrSignatureHeaders},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := signedHeaders(t, vectorID, vectorTime, []byte(vectorBody), vectorHMAC)
			test.change(h)
			require.ErrorIs(t, vectorVerifier(vectorPublic, vectorHMAC).Verify([]byte(vectorBody), h), test.want)
		})
	}
	require.ErrorIs(t, vectorVerifier(vectorHMAC).Verify(nil, nil), webhook.ErrSignatureHeaders)
}

func TestVerifyTolerance(t *testing.T) {
	h := signedHeaders(t, vectorID, vectorTime, []byte(vectorBody), vectorHMAC)
	for _, test := range []struct {
		off, tolerance time.Duration
		want           error
	}{
		{5 * time.Minute, 0, nil},
		{5*time.Minute + 1, 0, webhook.ErrSignatureTime},
		{-5 * time.Minute, 0, nil},
		{-5*time.Minute - 1, 0, webhook.ErrSignatureTime},
		{time.Hour, time.Hour, nil},
		{2 * time.Second, time.Second, webhook.ErrSignatureTime},
	} {
		v := vectorVerifier(vectorHMAC)
		v.Tolerance = test.tolerance
		v.Now = func() time.Time { return vectorTime.Add(test.off) }
		require.ErrorIs(t, v.Verify([]byte(vectorBody), h), test.want, "%v", test.off)
	}
}

func TestVerifyRefusesItsOwnSettings(t *testing.T) {
	h := signedHeaders(t, "msg_1", time.Now(), nil, vectorHMAC)
	for name, secrets := range map[string][]string{
		"none": nil, "empty": {""}, "one empty": {vectorHMAC, ""}, "only a prefix": {"whsec_"},
		"bad public": {"whpk_AAAA"}, "masked": {"whsec_****"},
	} {
		err := webhook.Verify(nil, h, secrets...)
		require.ErrorIs(t, err, webhook.ErrInvalid, name)
		var field *webhook.FieldError
		require.ErrorAs(t, err, &field)
		require.Contains(t, field.Field, "Verifier.Secrets")
	}
	require.ErrorIs(t, webhook.Verifier{Secrets: []string{vectorHMAC}, Tolerance: -1}.Verify(nil, h), webhook.ErrInvalid)
}

func TestVerifyDuringRotation(t *testing.T) {
	older, newer := webhook.NewSecret().Value, webhook.NewSigningKey()
	public, err := newer.PublicKey()
	require.NoError(t, err)
	h := signedHeaders(t, "msg_1", time.Now(), []byte("{}"), newer.Value, older)
	require.NoError(t, webhook.Verify([]byte("{}"), h, older))
	require.NoError(t, webhook.Verify([]byte("{}"), h, public))
	require.ErrorIs(t, webhook.Verify([]byte("{}"), h, webhook.NewSecret().Value), webhook.ErrSignatureMismatch)
}

func TestMiddleware(t *testing.T) {
	secret := webhook.NewSecret().Value
	var got []byte
	handler := webhook.Verifier{Secrets: []string{secret}, MaxBody: 1000}.Middleware(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, _ = io.ReadAll(r.Body)
			if int(r.ContentLength) != len(got) {
				t.Errorf("ContentLength %d, body of %d", r.ContentLength, len(got))
			}
			w.WriteHeader(http.StatusNoContent)
		}))
	small, limit, large := []byte(`{"a":1}`), bytes.Repeat([]byte("x"), 1000), bytes.Repeat([]byte("x"), 1001)
	tests := map[string]struct {
		body   io.Reader
		header http.Header
		want   int
	}{
		"signed":      {bytes.NewReader(small), signedHeaders(t, "msg_1", time.Now(), small, secret), 204},
		"chunked":     {io.MultiReader(bytes.NewReader(small)), signedHeaders(t, "msg_1", time.Now(), small, secret), 204},
		"at limit":    {bytes.NewReader(limit), signedHeaders(t, "msg_1", time.Now(), limit, secret), 204},
		"over limit":  {bytes.NewReader(large), signedHeaders(t, "msg_1", time.Now(), large, secret), 413},
		"unsigned":    {bytes.NewReader(small), http.Header{}, 400},
		"other's":     {bytes.NewReader(small), signedHeaders(t, "msg_1", time.Now(), small, vectorHMAC), 401},
		"old":         {bytes.NewReader(small), signedHeaders(t, "msg_1", vectorTime, small, secret), 401},
		"broken body": {iotest.ErrReader(io.ErrUnexpectedEOF), signedHeaders(t, "msg_1", time.Now(), small, secret), 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got = nil
			r := httptest.NewRequest(http.MethodPost, "/", test.body)
			r.Header = test.header
			original := r.Body
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			require.Equal(t, test.want, w.Code, w.Body)
			require.Equal(t, test.want == 204, got != nil)
			require.Equal(t, original, r.Body, "the server's own request is left alone")
		})
	}
}

func TestMiddlewareWithoutSecret(t *testing.T) {
	var log bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))

	handler := webhook.Verifier{Secrets: []string{"whsec_mistyped"}}.Middleware(http.NotFoundHandler())
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	require.Equal(t, 500, w.Code)
	require.NotContains(t, w.Body.String(), "Secrets")
	require.Contains(t, log.String(), "Verifier.Secrets[0]")
	require.NotContains(t, log.String(), "mistyped")
}

func ExampleVerifier_Middleware() {
	secret := webhook.NewSecret().Value // from the sender, usually out of the environment
	verify := webhook.Verifier{Secrets: []string{secret}}

	mux := http.NewServeMux()
	mux.Handle("POST /webhooks", verify.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("genuine:", r.Header.Get("webhook-id"))
	})))

	body, now := `{"total":42}`, time.Now()
	signature, _ := webhook.Sign(secret, "evt_1", now, []byte(body))
	r := httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader(body))
	r.Header.Set("webhook-id", "evt_1")
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", signature)
	mux.ServeHTTP(httptest.NewRecorder(), r)

	r = httptest.NewRequest(http.MethodPost, "/webhooks", strings.NewReader("forged"))
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println("forged:", w.Code)
	// Output:
	// genuine: evt_1
	// forged: 400
}

// FuzzVerify holds Verify against the other library: where ours passes, theirs does, and where only
// theirs does, it is for a form that ours is documented to refuse.
func FuzzVerify(f *testing.F) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	f.Add([]byte(vectorBody), vectorID, "1614265330", vectorV1)
	f.Add([]byte("{}"), "evt_1", now, "v1,AAAA v1a,AAAA")
	f.Add([]byte("5.{}"), "evt_1.1", now, "v1, ,, v1")
	f.Add([]byte(nil), "", "", "")
	oracle, err := standardwebhooks.NewWebhook(vectorHMAC)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte, id, timestamp, signature string) {
		check := func(h http.Header) {
			ours := webhook.Verify(body, h, vectorPublic, vectorHMAC)
			theirs := oracle.Verify(body, h)
			if ours == nil && theirs != nil {
				t.Fatalf("passes here, but there: %v (headers %q)", theirs, h)
			}
			if ours != nil && theirs == nil && plain(id, timestamp, signature) {
				t.Fatalf("passes there, but here: %v (headers %q)", ours, h)
			}
		}
		h := http.Header{}
		h.Set("webhook-id", id)
		h.Set("webhook-timestamp", timestamp)
		h.Set("webhook-signature", signature)
		check(h)
		// The same with a true signature in it, which random bytes would never hit.
		if at, err := strconv.ParseInt(timestamp, 10, 64); err == nil {
			if good, err := oracle.Sign(id, time.Unix(at, 0), body); err == nil {
				h.Set("webhook-signature", signature+" "+good)
				check(h)
				h.Set("webhook-timestamp", now)
				check(h)
			}
		}
		if _, err := webhook.Sign(vectorHMAC, id, time.Now(), body); err == nil {
			h = signedHeaders(t, id, time.Now(), body, vectorHMAC)
			require.NoError(t, webhook.Verify(body, h, vectorHMAC))
			require.NoError(t, oracle.Verify(body, h))
		}
	})
}

// plain reports whether headers are in the strict form that Verify asks for.
func plain(id, timestamp, signature string) bool {
	for _, c := range []byte(id) {
		if c == '.' || c <= ' ' || c >= 0x7f {
			return false
		}
	}
	at, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(at, 10) != timestamp || at < 0 {
		return false
	}
	parts := strings.Split(signature, " ")
	for _, part := range parts {
		if strings.Count(part, ",") != 1 || strings.ContainsAny(part, "\t\n\v\f\r\u0085\u00a0") {
			return false
		}
	}
	return len(parts) < 64
}

func TestVerifierCheck(t *testing.T) {
	require.NoError(t, webhook.Verifier{Secrets: []string{webhook.NewSecret().Value}}.Check())
	for _, v := range []webhook.Verifier{{}, {Secrets: []string{"whsec_!"}}, {Secrets: []string{webhook.NewSecret().Value}, Tolerance: -1}} {
		require.ErrorIs(t, v.Check(), webhook.ErrInvalid)
	}
}
