package checks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// expired is a self-signed certificate of another name that is over.
func expired(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "other.example"}, NotAfter: time.Now().Add(-time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// secure is a web server over TLS that tells what it was asked; with cut it ends without
// the notification that TLS wants.
func secure(t *testing.T, cut bool) (netip.AddrPort, <-chan tls.ConnectionState) {
	t.Helper()
	states := make(chan tls.ConnectionState, 100)
	conf := &tls.Config{Certificates: []tls.Certificate{expired(t)}, ClientAuth: tls.RequestClientCert}
	return serving(t, func(c net.Conn) {
		s := tls.Server(c, conf)
		if _, err := s.Read(make([]byte, 1000)); err != nil {
			return
		}
		states <- s.ConnectionState()
		io.WriteString(s, "HTTP/1.0 200 OK\r\n\r\nok")
		if !cut {
			s.CloseWrite()
		}
	}), states
}

// 1.6: no certificate is verified, and a name is sent only where one is given.
func TestTLS(t *testing.T) {
	mine := expired(t)
	for _, tt := range []struct {
		name string
		cert *tls.Certificate
		cut  bool
	}{{"", nil, false}, {"www.example.com", nil, true}, {"", &mine, false}} {
		addr, states := secure(t, tt.cut)
		a, err := HTTP(t.Context(), HTTPCheck{
			Target: Target{Addr: addr, Timeout: 5 * time.Second}, Path: "/", TLS: TLSClient(tt.name, tt.cert), CloseNotify: tt.cut,
			Digests: []string{"444bcb3a3fcf8389296c49467f27e1d6"},
		})
		if err != nil || a.Status != 200 {
			t.Fatalf("%+v: %+v %v", tt, a, err)
		}
		s := <-states
		if s.ServerName != tt.name || len(s.PeerCertificates) != len(TLSClient("", tt.cert).Certificates) {
			t.Errorf("the server heard %q and %d certificates", s.ServerName, len(s.PeerCertificates))
		}
	}
}

func TestTLSFailures(t *testing.T) {
	plain := raw(t, says("HTTP/1.0 200 OK\r\n\r\n"))
	l, closing := listener(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1000))
			c.Close()
		}
	}()
	_, silent := listener(t)
	for addr, want := range map[netip.AddrPort]string{
		plain: "TLS handshake: no answer in 1s", silent: "TLS handshake: no answer in 1s", closing: "TLS handshake: connection closed",
	} {
		_, err := HTTP(t.Context(), HTTPCheck{Target: Target{Addr: addr, Timeout: time.Second}, Path: "/", TLS: TLSClient("", nil)})
		if text(err) != want && !strings.HasPrefix(text(err), "TLS handshake: connection reset") || errors.Is(err, ErrLocal) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Keys are read as OpenSSL writes them, also encrypted in the ways that it knows.
func TestLoadCertificate(t *testing.T) {
	dir := t.TempDir()
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "plain.pem", "-out", "cert.pem", "-subj", "/CN=client")
	openssl("rsa", "-in", "plain.pem", "-traditional", "-aes128", "-passout", "pass:secret", "-out", "old.pem")
	openssl("pkcs8", "-topk8", "-in", "plain.pem", "-v2", "aes256", "-passout", "pass:secret", "-out", "aes256.pem")
	openssl("pkcs8", "-topk8", "-in", "plain.pem", "-v2", "des3", "-v2prf", "hmacWithSHA1", "-passout", "pass:secret", "-out", "des3.pem")
	cert := filepath.Join(dir, "cert.pem")
	for _, name := range []string{"plain", "old", "aes256", "des3"} {
		key := filepath.Join(dir, name+".pem")
		if c, err := LoadCertificate(cert, key, "secret"); err != nil || c == nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := LoadCertificate(cert, key, "wrong"); (err == nil) != (name == "plain") {
			t.Errorf("%s with a wrong password: %v", name, err)
		}
	}
	if c, err := LoadCertificate("", "", ""); c != nil || err != nil {
		t.Errorf("none: %v %v", c, err)
	}
	if _, err := LoadCertificate(cert, filepath.Join(dir, "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such key: %v", err)
	}
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("0\x82"), "x")
	f.Fuzz(func(t *testing.T, der []byte, password string) {
		if len(der) > 2000 {
			return
		}
		decrypt(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}, password)
	})
}
