package webhook

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidateURL(t *testing.T) {
	guard, ten := NewGuard(), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		url   string
		allow []netip.Prefix
		valid bool
	}{
		{"https://example.com/hook?a=b", nil, true},
		{"HTTP://EXAMPLE.com:8080", nil, true},
		{"http://xn--bcher-kva.example/", nil, true},
		{"http://under_score.example", nil, true},
		{"http://example.com./", nil, true},
		{"http://1.1.1.1/", nil, true},
		{"http://[2606:4700::1]:443/", nil, true},
		{"http://10.0.0.1/", ten, true},
		{"http://127.0.0.1:8080/", Loopback, true},
		{"http://localhost:8080/", Loopback, true},
		{"https://example.com/" + strings.Repeat("a", 2028), nil, true},
		{"https://example.com/" + strings.Repeat("a", 2029), nil, false},
		{"", nil, false},
		{"example.com", nil, false},
		{"ftp://example.com", nil, false},
		{"http://", nil, false},
		{"http:///path", nil, false},
		{"http:example.com", nil, false},
		{"http://:80/", nil, false},
		{"http://example.com:/", nil, false},
		{"http://example.com:0/", nil, false},
		{"http://example.com:65536/", nil, false},
		{"http://user:pw@example.com/", nil, false},
		{"http://@example.com/", nil, false},
		{"http://example.com/#top", nil, false},
		{"http://example.com/#", nil, false},
		{"http://example.com/a b", nil, false},
		{"http://example.com/\x00", nil, false},
		{"http://example.com/\xff", nil, false},
		{"http://exa mple.com/", nil, false},
		{"http://a..b/", nil, false},
		{"http://./", nil, false},
		{"http://" + strings.Repeat("a", 64) + ".com/", nil, false},
		{"http://b\u00fccher.example/", nil, false},
		{"http://%31%32%37.0.0.1/", nil, false},
		{"http://10.0.0.1/", nil, false},
		{"http://10.0.0.1./", nil, false},
		{"http://169.254.169.254/latest", ten, false},
		{"http://0.0.0.0/", nil, false},
		{"http://0/", nil, false},
		{"http://2130706433/", nil, false},
		{"http://0x7f000001/", nil, false},
		{"http://0x7f.1/", nil, false},
		{"http://127.1/", nil, false},
		{"http://0177.0.0.1/", nil, false},
		{"http://127.0.0.0x1/", nil, false},
		{"http://127.0.0.1.5/", nil, false},
		{"http://\uff11\uff12\uff17.0.0.1/", nil, false},
		{"http://127\u30020\u30020\u30021/", nil, false},
		{"http://localhost/", nil, false},
		{"http://LOCALHOST./", nil, false},
		{"http://a.localhost/", nil, false},
		{"http://localhost/", ten, false},
		{"http://[::1]/", nil, false},
		{"http://[::ffff:127.0.0.1]/", nil, false},
		{"http://[::ffff:7f00:1]/", nil, false},
		{"http://[64:ff9b::7f00:1]/", nil, false},
		{"http://[fe80::1%25eth0]/", nil, false},
		{"http://[2606:4700::1%25eth0]/", nil, false},
		{"http://[127.0.0.1]/", nil, false},
	} {
		u, err := validateURL(c.url, c.allow, guard)
		require.Equal(t, c.valid, err == nil, "%q: %v", c.url, err)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			var field *FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, "Endpoint.URL", field.Field)
		} else {
			require.NotEmpty(t, u.Hostname())
		}
	}
}

func TestValidateURLPortsAndNoGuard(t *testing.T) {
	guard := newGuard([]uint16{443})
	_, err := validateURL("https://example.com/", nil, guard)
	require.NoError(t, err)
	_, err = validateURL("http://example.com/", nil, guard)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = validateURL("http://127.0.0.1/", nil, nil)
	require.NoError(t, err, "without a guard addresses are not judged")
}

func TestInvalidURLsDoNotRepeatSecrets(t *testing.T) {
	for _, raw := range []string{"http://user:hunter2@example.com", "http://ex ample.com?hunter2", "http://%zz?hunter2", "ftp://hunter2"} {
		_, err := validateURL(raw, nil, NewGuard())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
		require.NotContains(t, newTarget(Endpoint{URL: "http://user:hunter2@exa mple.com"}).text, "hunter2")
	}
	require.Equal(t, "http://example.com/a", newTarget(Endpoint{URL: "http://user:hunter2@example.com/a"}).text)
}

func FuzzValidateURL(f *testing.F) {
	for _, s := range []string{"https://example.com/x?y", "http://[::1]:80", "http://0x7f.1", "http://a@b#c", "http://xn--a.b.:1/"} {
		f.Add(s)
	}
	guard := NewGuard()
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := validateURL(raw, nil, guard)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		// What was let through is understood alike by whoever reads it again.
		again, err := url.Parse(u.String())
		require.NoError(t, err)
		require.Equal(t, u.Host, again.Host)
		require.Nil(t, u.User)
		require.LessOrEqual(t, len(raw), maxURLBytes)
		if addr, err := netip.ParseAddr(strings.TrimSuffix(u.Hostname(), ".")); err == nil {
			require.NoError(t, guard.check(netip.AddrPortFrom(addr, portOf(u))))
		}
		require.Nil(t, newTarget(Endpoint{URL: raw}).fault)
	})
}
