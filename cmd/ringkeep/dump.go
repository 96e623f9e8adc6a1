package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/dump"
)

func dumpCommand() *cobra.Command {
	var file, kind string
	var vrid uint8
	var hosts []string
	cmd := &cobra.Command{
		Use:   "dump -r FILE",
		Short: "Print the packets of a capture as this program reads them",
		Long: `Print the packets of a capture, pcap or pcapng, as this program reads them: one line a
packet, with its number, the time since the first one, and what a receiver of VRRP holds
against it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := dump.Filter{VRID: vrid, Kind: kind}
			for _, h := range hosts {
				a, err := netip.ParseAddr(h)
				if err != nil {
					return fmt.Errorf("--host %s: must be an address", h)
				}
				f.Addrs = append(f.Addrs, a)
			}
			if kind != "" && !slices.Contains([]string{"vrrp", "arp", "tcp", "udp"}, kind) {
				return fmt.Errorf("--kind %s: must be vrrp, arp, tcp or udp", kind)
			}
			if file == "" {
				return fmt.Errorf("name a capture with -r FILE")
			}
			return dump.File(file, f, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "read", "r", "", "the capture `file`")
	f.StringVar(&kind, "kind", "", "packets of one `kind`: vrrp, arp, tcp or udp")
	f.Uint8Var(&vrid, "vrid", 0, "advertisements of one `VRID`")
	f.StringArrayVar(&hosts, "host", nil, "packets from, to or about an `address`; may be repeated")
	return cmd
}
