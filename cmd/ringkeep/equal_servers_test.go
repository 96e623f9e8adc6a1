package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/netlab"
)

// page is what web servers answer, and pageDigest is its sum in a keepalived.conf.
const page = "it works\n"

var pageDigest = fmt.Sprintf("%x", md5.Sum([]byte(page)))

// alivePort answers on every server that is reached: scripts of the files ask it.
const alivePort = 7

// servers are what the checks of a file talk to. They listen on all addresses: which one is
// reached is the network's business.
type servers struct {
	kinds map[netip.AddrPort]string // keyword of the check that asks there
	ports map[string][]uint16       // by network, tcp or udp
}

func serversOf(files ...*config.Config) *servers {
	s := &servers{kinds: map[netip.AddrPort]string{}, ports: map[string][]uint16{"tcp": {alivePort}}}
	for _, cfg := range files {
		eachCheck(cfg, func(_ *config.RealServer, c *config.Check, kind string) { s.add(c, kind) })
	}
	return s
}

// eachCheck visits the checks of a file, and the hosts of those that ask several.
func eachCheck(cfg *config.Config, f func(rs *config.RealServer, c *config.Check, kind string)) {
	for _, vs := range cfg.VirtualServers {
		for _, rs := range vs.RealServers {
			for _, c := range rs.Checks {
				if len(c.Hosts) == 0 {
					f(rs, c, c.Kind)
				}
				for _, h := range c.Hosts {
					f(rs, h, c.Kind)
				}
			}
		}
	}
}

func (s *servers) add(c *config.Check, kind string) {
	network := "tcp"
	switch kind {
	case "UDP_CHECK":
		network = "udp"
	case "PING_CHECK", "MISC_CHECK":
		return
	}
	if s.kinds[c.Connect] == "" {
		s.kinds[c.Connect] = kind
	}
	for _, p := range s.ports[network] {
		if p == c.Connect.Port() {
			return
		}
	}
	s.ports[network] = append(s.ports[network], c.Connect.Port())
}

// serve starts them in a network; they end with the test.
func (s *servers) serve(n *netlab.Namespace, certificate tls.Certificate) error {
	for network, ports := range s.ports {
		for _, port := range ports {
			failed := make(chan error)
			n.Spawn(func() {
				on := fmt.Sprintf(":%d", port)
				if network == "udp" {
					c, err := net.ListenPacket("udp", on)
					failed <- err
					for err == nil { // to be there is all
						_, _, err = c.ReadFrom(make([]byte, 1))
					}
					return
				}
				l, err := net.Listen("tcp", on)
				if failed <- err; err == nil {
					s.accept(l, certificate)
				}
			})
			if err := <-failed; err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *servers) accept(l net.Listener, certificate tls.Certificate) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		at := c.LocalAddr().(*net.TCPAddr).AddrPort()
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			switch s.kinds[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())] {
			case "HTTP_GET":
				answerWeb(c)
			case "SSL_GET":
				answerWeb(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}}))
			case "SMTP_CHECK":
				answerMail(c)
			}
		}()
	}
}

func answerWeb(c net.Conn) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	fmt.Fprintf(c, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
	c.Close()
}

func answerMail(c net.Conn) {
	io.WriteString(c, "220 mail.example.com ESMTP\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if strings.HasPrefix(strings.ToUpper(lines.Text()), "QUIT") {
			io.WriteString(c, "221 bye\r\n")
			return
		}
		io.WriteString(c, "250 mail.example.com\r\n")
	}
}

// newCertificate makes one that nobody vouches for, as keepalived does not ask.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &t, &t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
