package packed

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/outhook/webhook"
)

// What is packed comes back, the empty apart from the missing.
func TestPackedAttempts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		started := time.UnixMicro(rapid.Int64Range(-1e15, 1e16).Draw(t, "started")).UTC()
		at := func(name string) *time.Time {
			return rapid.Ptr(rapid.Map(rapid.Int64Range(-1e12, 1e12), func(us int64) time.Time {
				return started.Add(time.Duration(us) * time.Microsecond)
			}), true).Draw(t, name)
		}
		headers := func(name string) map[string]string {
			return rapid.OneOf(rapid.Just(map[string]string(nil)), rapid.MapOf(rapid.String(), rapid.String())).Draw(t, name)
		}
		a := webhook.DeliveryAttempt{
			AttemptNumber: rapid.IntRange(1, 1e6).Draw(t, "number"), Trigger: rapid.SampledFrom(triggers).Draw(t, "trigger"),
			Method: rapid.String().Draw(t, "method"), URL: rapid.String().Draw(t, "url"),
			RemoteAddr: rapid.String().Draw(t, "remote"), Error: rapid.String().Draw(t, "error"),
			StatusCode:  rapid.Ptr(rapid.Int(), true).Draw(t, "status"),
			DeliveredAt: at("delivered"), RespondedAt: at("responded"), NextAttemptAt: at("next"),
			DurationMS: rapid.Int64().Draw(t, "duration"), Resends: rapid.Int().Draw(t, "resends"),
			RetryAfterMS:          rapid.Ptr(rapid.Int64(), true).Draw(t, "retry after"),
			ResponseBodyTruncated: rapid.Bool().Draw(t, "truncated"),
			Timings: rapid.Ptr(rapid.Map(rapid.Float64(), func(ms float64) webhook.Timings {
				return webhook.Timings{TLSMS: ms, TTFBMS: 1}
			}), true).Draw(t, "timings"),
			RequestHeaders: headers("request"), ResponseHeaders: headers("response"),
			ResponseBodyPreview: rapid.Ptr(rapid.String(), true).Draw(t, "preview"),
		}
		want := Body{
			Rest: rapid.Int64().Draw(t, "rest"), Number: int64(a.AttemptNumber), Bulk: rapid.Int64().Draw(t, "bulk"),
			Created: started.UnixMicro() + rapid.Int64Range(-1e12, 1e12).Draw(t, "created"),
			Applied: rapid.Bool().Draw(t, "applied"), Lost: rapid.Bool().Draw(t, "lost"),
		}
		sent := a
		sent.StartedAt = started
		body, capture := want.Pack(&sent), Capture(&sent)

		var got webhook.DeliveryAttempt
		b, err := UnpackBody(body, started.UnixMicro(), &got)
		require.NoError(t, err)
		require.Equal(t, want, b)
		require.NoError(t, UnpackCapture(capture, &got))
		require.Equal(t, a, got)

		cut := rapid.IntRange(0, len(body)-1).Draw(t, "cut")
		_, err = UnpackBody(body[:cut], 0, &got)
		require.ErrorIs(t, err, ErrDamaged)
	})
}

func FuzzUnpack(f *testing.F) {
	preview := "ok"
	a := webhook.DeliveryAttempt{
		Method: "POST", URL: "https://example.com", RequestHeaders: map[string]string{"a": "b"}, ResponseBodyPreview: &preview,
	}
	f.Add(Body{Number: 1}.Pack(&a))
	f.Add(Capture(&a))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a webhook.DeliveryAttempt
		if b, err := UnpackBody(data, 0, &a); err == nil {
			again, err := UnpackBody(b.Pack(&a), a.StartedAt.UnixMicro(), &webhook.DeliveryAttempt{})
			require.NoError(t, err)
			require.Equal(t, b.Number, again.Number)
		}
		_ = UnpackCapture(data, &a)
	})
}
