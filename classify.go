package webhook

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"syscall"

	"github.com/outhook/webhook/internal/http1"
)

// classify names the error of a client that got no status line. The first match wins, and the order
// matters: a DNS error can also be a time-out, a proxy's error carries that of its dial. The ends of
// the attempt's own contexts are told apart before.
func classify(err error) ErrorCode {
	for _, family := range []func(error) ErrorCode{
		blockedOrProxy, dnsCode, certificateCode, tlsCode, errnoCode, closedCode, protocolCode,
	} {
		if code := family(err); code != "" {
			return code
		}
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return CodeNetworkError
	}
	return CodeUnknown
}

func blockedOrProxy(err error) ErrorCode {
	if errors.Is(err, ErrBlockedAddress) {
		return CodeBlockedAddress
	}
	// net/http has no type for it.
	var wrapped *url.Error
	if errors.As(err, &wrapped) && strings.HasPrefix(wrapped.Err.Error(), "stopped after ") {
		return CodeTooManyRedirects
	}
	if hasOp(err, "proxyconnect") || hasOp(err, "socks connect") {
		return CodeProxyError
	}
	return ""
}

func dnsCode(err error) ErrorCode {
	var dns *net.DNSError
	switch {
	case !errors.As(err, &dns):
		return ""
	case dns.IsNotFound:
		return CodeNotFound
	}
	return CodeDNSLookupFailed
}

func certificateCode(err error) ErrorCode {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var bad x509.CertificateInvalidError
	var noRoots x509.SystemRootsError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return unknownAuthorityCode(err, unknown.Cert)
	case errors.As(err, &host):
		return CodeCertAltnameInvalid
	case errors.As(err, &bad) && bad.Reason == x509.Expired:
		return CodeSSLCertExpired
	case errors.As(err, &noRoots):
		return CodeSSLErrorCAUnknown
	case errors.As(err, &bad), errors.As(err, &verification), errors.As(err, new(x509.InsecureAlgorithmError)):
		return CodeTLSCertInvalid
	}
	return ""
}

func unknownAuthorityCode(err error, cert *x509.Certificate) ErrorCode {
	if cert != nil && bytes.Equal(cert.RawIssuer, cert.RawSubject) {
		return CodeSelfSignedCert
	}
	var chain *tls.CertificateVerificationError
	if errors.As(err, &chain) && len(chain.UnverifiedCertificates) == 1 {
		return CodeUnableToGetIssuerCert
	}
	return CodeSSLErrorCAUnknown
}

func tlsCode(err error) ErrorCode {
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) {
		return CodeSSLWrongVersionNumber
	}
	// crypto/tls types neither its alerts nor most of its own errors; all of them begin like this.
	text := innermost(err).Error()
	if !strings.HasPrefix(text, "tls: ") {
		return ""
	}
	if strings.Contains(text, "protocol version not supported") || strings.Contains(text, "unsupported protocol version") {
		return CodeSSLWrongVersionNumber
	}
	return CodeTLSHandshakeFailed
}

func errnoCode(err error) ErrorCode {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	// The numbers are Winsock's, to which the names of package syscall do not compare; elsewhere no
	// error has them.
	switch errno {
	case syscall.ECONNREFUSED, 10061:
		return CodeConnectionRefused
	case syscall.ECONNRESET, syscall.ECONNABORTED, 10054, 10053:
		return CodeConnectionReset
	case syscall.ENETUNREACH, 10051:
		return CodeNetworkUnreachable
	case syscall.EHOSTUNREACH, 10065:
		return CodeHostUnreachable
	}
	return ""
}

func closedCode(err error) ErrorCode {
	for _, closed := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, closed) {
			return CodeSocketClosed
		}
	}
	text := err.Error()
	for _, untyped := range []string{
		"GOAWAY", "server closed idle connection", "client connection lost", "client conn not usable", "client conn is closed",
	} {
		if strings.Contains(text, untyped) {
			return CodeSocketClosed
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, syscall.ETIMEDOUT) {
		return CodeTimeout
	}
	return ""
}

// streamError is what net/http's bundled HTTP/2 calls http2StreamError: its As method fills any
// struct of this form.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "HTTP/2 stream error" }

func protocolCode(err error) ErrorCode {
	text := err.Error()
	for _, tooLarge := range []string{"response headers exceeded", "header list larger"} {
		if errors.Is(err, http1.ErrTooLarge) || strings.Contains(text, tooLarge) {
			return CodeResponseTooLarge
		}
	}
	var stream streamError
	var line textproto.ProtocolError
	var malformed *http1.Malformed
	if errors.As(err, &stream) || errors.As(err, &line) || errors.As(err, &malformed) || errors.Is(err, http1.ErrSpokeFirst) {
		return CodeProtocolError
	}
	for _, untyped := range []string{"malformed ", "http2: ", "connection error: ", "transfer encoding", "Content-Length", "1xx"} {
		if strings.Contains(text, untyped) {
			return CodeProtocolError
		}
	}
	return ""
}

// hasOp looks for a *net.OpError of that Op anywhere in the chain; errors.As stops at the first one.
func hasOp(err error, op string) bool {
	for err != nil {
		if e, ok := err.(*net.OpError); ok && e.Op == op { //nolint:errorlint // this is the chain, link by link
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}

func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// errorText is an error's text without the URL, whose query may be a secret and which the record has
// anyway.
func errorText(err error) string {
	var wrapped *url.Error
	for errors.As(err, &wrapped) && wrapped.Err != nil {
		err = wrapped.Err
	}
	return err.Error()
}
