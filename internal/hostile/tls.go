package hostile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

const tlsHost = "tls.test"

func tlsModes() []Mode {
	with := func(name, code string, cfg func(*Lab) *tls.Config) Mode {
		m := Mode{Name: name, Code: code, host: tlsHost, tls: cfg, serve: answering(status(200))}
		if code == "" {
			m.Status = 200
		}
		return m
	}
	cert := func(p certParams) func(*Lab) *tls.Config {
		return func(l *Lab) *tls.Config { return serving(l.Certificate(p)) }
	}
	past, future := time.Now().Add(-48*time.Hour), time.Now().Add(48*time.Hour)
	return []Mode{
		with("tls", "", cert(certParams{})),
		with("tls-expired", "SSL_CERT_EXPIRED", cert(certParams{from: past, until: past.Add(time.Hour)})),
		with("tls-not-yet-valid", "SSL_CERT_EXPIRED", cert(certParams{from: future, until: future.Add(time.Hour)})),
		with("tls-self-signed", "SELF_SIGNED_CERT", cert(certParams{selfSigned: true})),
		with("tls-unknown-ca", "SSL_ERROR_CA_UNKNOWN", cert(certParams{stranger: true, sendIntermediate: true})),
		with("tls-missing-intermediate", "UNABLE_TO_GET_ISSUER_CERT", cert(certParams{intermediate: true})),
		with("tls-with-intermediate", "", cert(certParams{intermediate: true, sendIntermediate: true})),
		with("tls-wrong-host", "ERR_TLS_CERT_ALTNAME_INVALID", cert(certParams{host: "other.test"})),
		with("tls-client-only-certificate", "TLS_CERT_INVALID", cert(certParams{usage: x509.ExtKeyUsageClientAuth})),
		with("tls-1.0", "ERR_SSL_WRONG_VERSION_NUMBER", func(l *Lab) *tls.Config {
			cfg := serving(l.Certificate(certParams{}))
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
			return cfg
		}),
		with("tls-client-certificate-required", "TLS_HANDSHAKE_FAILED", func(l *Lab) *tls.Config {
			cfg := serving(l.Certificate(certParams{}))
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, l.Roots
			return cfg
		}),
		{Name: "tls-plain-http", Code: "ERR_SSL_WRONG_VERSION_NUMBER", host: tlsHost, tls: noTLS, serve: func(c *conversation) {
			_ = c.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			c.hang()
		}},
		{Name: "tls-alert", Code: "TLS_HANDSHAKE_FAILED", host: tlsHost, tls: noTLS, serve: func(c *conversation) {
			_ = c.say("\x15\x03\x03\x00\x02\x02\x28") // fatal, handshake_failure
			c.hang()
		}},
		{Name: "tls-stall", Code: "TIMEOUT", Slow: true, host: tlsHost, tls: noTLS, serve: (*conversation).hang},
		{Name: "tls-close", Code: "SOCKET_CLOSED", host: tlsHost, tls: noTLS, serve: func(c *conversation) {
			_, _ = c.in.ReadByte()
			_, _ = c.in.Discard(c.in.Buffered())
		}},
	}
}

// noTLS makes an https URL for a server that does not shake hands.
func noTLS(*Lab) *tls.Config { return nil }

func serving(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, NextProtos: []string{"http/1.1"}}
}

// authority is a certificate authority made for one test.
type authority struct {
	Roots *x509.CertPool // what a client must trust
	t     testing.TB

	root, intermediate, stranger issuer
}

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, Roots: x509.NewCertPool()}
	a.root = a.newCA("Lab Root", nil)
	a.intermediate = a.newCA("Lab Intermediate", &a.root)
	stranger := a.newCA("Unknown Root", nil)
	a.stranger = a.newCA("Unknown Intermediate", &stranger)
	a.Roots.AddCert(a.root.cert)
	return a
}

func (a *authority) newCA(name string, parent *issuer) issuer {
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-72 * time.Hour), NotAfter: time.Now().Add(72 * time.Hour),
	}
	return a.issue(template, parent)
}

// certParams are how a certificate differs from a good one for tls.test.
type certParams struct {
	host                               string
	from, until                        time.Time
	selfSigned, intermediate, stranger bool
	sendIntermediate                   bool
	usage                              x509.ExtKeyUsage
}

// Certificate makes a server's certificate.
func (a *authority) Certificate(p certParams) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{tlsHost},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if p.host != "" {
		template.DNSNames, template.IPAddresses = []string{p.host}, nil
	}
	if !p.from.IsZero() {
		template.NotBefore, template.NotAfter = p.from, p.until
	}
	if p.usage != 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{p.usage}
	}
	parent := &a.root
	switch {
	case p.selfSigned:
		parent = nil
	case p.intermediate:
		parent = &a.intermediate
	case p.stranger:
		parent = &a.stranger
	}
	leaf := a.issue(template, parent)
	chain := tls.Certificate{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}
	if p.sendIntermediate {
		chain.Certificate = append(chain.Certificate, parent.cert.Raw)
	}
	return chain
}

// ClientCertificate makes a certificate that "tls-client-certificate-required" accepts, in PEM.
func (a *authority) ClientCertificate() (cert, key string) {
	a.t.Helper()
	leaf := a.issue(&x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "sender"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, &a.root)
	der, err := x509.MarshalPKCS8PrivateKey(leaf.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.cert.Raw})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (a *authority) issue(template *x509.Certificate, parent *issuer) issuer {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := issuer{template, key}
	if parent != nil {
		signer = *parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, key.Public(), signer.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return issuer{cert, key}
}

var serials atomic.Int64

func serial() *big.Int { return big.NewInt(serials.Add(1)) }
