package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/checks"
)

// genhash asks a web server for a page as HTTP_GET does, and prints its digest.
type genhash struct {
	server, url, host, protocol string
	port                        uint16
	timeout                     int
	mark                        uint32
	ssl, sni, verbose           bool
}

func genhashCommand() *cobra.Command {
	g := genhash{}
	cmd := &cobra.Command{
		Use:   "genhash -s SERVER -p PORT -u PATH",
		Short: "Print the digest of a page for HTTP_GET and SSL_GET",
		Long: `genhash asks a web server for a page with the request that HTTP_GET and SSL_GET send, and
prints the MD5 sum of its body, as keepalived's genhash does: it is what the keyword digest
wants. The status of the answer does not matter. Options are those of keepalived.`,
		Example: "  ringkeep genhash -s 192.168.1.11 -p 80 -u /health\n  ringkeep genhash -S -I -s 192.168.1.11 -p 443 -V www.example.com -u /",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&g.server, "server", "s", "", "address or name of the server")
	f.Uint16VarP(&g.port, "port", "p", 80, "its port")
	f.StringVarP(&g.url, "url", "u", "", "the path asked for")
	f.BoolVarP(&g.ssl, "use-ssl", "S", false, "ask over TLS; no certificate is verified")
	f.BoolVarP(&g.sni, "use-sni", "I", false, "send the virtual host's name in TLS")
	f.StringVarP(&g.host, "use-virtualhost", "V", "", "the Host header, verbatim (the server's address and port)")
	f.StringVarP(&g.protocol, "protocol", "P", "1.0", "HTTP version: 1.0, 1.0C (which is 1.0 with Connection: close) or 1.1")
	f.IntVarP(&g.timeout, "timeout", "t", 5, "seconds for the connection, and for each part of the answer")
	f.Uint32VarP(&g.mark, "fwmark", "m", 0, "mark of the packets")
	f.BoolVarP(&g.verbose, "verbose", "v", false, "print the header, too")
	cmd.MarkFlagRequired("server")
	cmd.MarkFlagRequired("url")
	return cmd
}

func (g *genhash) run(cmd *cobra.Command) error {
	if g.protocol == "1.0c" {
		g.protocol = "1.0C"
	}
	if g.protocol != "1.0" && g.protocol != "1.0C" && g.protocol != "1.1" {
		return fmt.Errorf("protocol %s: must be 1.0, 1.0C or 1.1", g.protocol)
	}
	list, err := net.DefaultResolver.LookupNetIP(cmd.Context(), "ip", g.server)
	if err != nil {
		return err
	}
	c := checks.HTTPCheck{
		Target: checks.Target{Addr: netip.AddrPortFrom(list[0].Unmap(), g.port), Timeout: time.Duration(g.timeout) * time.Second, Mark: int(g.mark)},
		Path:   g.url, Host: g.host, Protocol: g.protocol, Status: [][2]int{{0, 999}},
	}
	if g.ssl {
		name := ""
		if g.sni {
			name = g.host
		}
		c.TLS = checks.TLSClient(name, nil)
	}
	begun := time.Now()
	a, err := checks.HTTP(cmd.Context(), c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Addr, err)
	}
	out := cmd.OutOrStdout()
	if g.verbose {
		fmt.Fprintf(out, "%sbody: %d bytes\ntime: %v\n", a.Head, a.Length, time.Since(begun).Round(time.Microsecond))
	}
	fmt.Fprintln(out, hex.EncodeToString(a.Digest[:]))
	return nil
}
