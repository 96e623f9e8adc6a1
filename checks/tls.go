package checks

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
)

// TLSClient is what SSL_GET says to a server: every certificate is good, as keepalived
// verifies none (a check asks whether the server works, not who it is). A name is sent
// (SNI) where there is one. cert is the client's, nil for none. The result may be shared
// by checks.
func TLSClient(name string, cert *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: name, MinVersion: tls.VersionTLS12}
	// OpenSSL still offers what Go offers only when asked: the key exchange by RSA and CBC.
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		c.CipherSuites = append(c.CipherSuites, s.ID)
	}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// LoadCertificate loads a client's certificate and key from PEM files. A key that is
// encrypted needs its password. Without files there is none.
func LoadCertificate(certFile, keyFile, password string) (*tls.Certificate, error) {
	if certFile == "" && keyFile == "" {
		return nil, nil
	}
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if block, _ := pem.Decode(keyPEM); block != nil {
		if block, err = decrypt(block, password); err != nil {
			return nil, fmt.Errorf("key %s: %w", keyFile, err)
		}
		keyPEM = pem.EncodeToMemory(block)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate %s, key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}
