package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/cmd/internal/status"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/proto"
)

// steering is what the commands do, in a line and in some.
var steering = map[string]struct{ short, long string }{
	"drain": {"Give a real server no new flows", `Give a real server, or all of a service, no new flows; those that are there stay. Clients
with a persistence template for the server are placed anew with their next connection.`},
	"undrain": {"Give a real server new flows again", `Give a real server, or all of a service, new flows again, after drain or fail.`},
	"fail": {"Take a real server out of service", `Take a real server, or all of a service, out: no new flows, and those that are there end.
At its next packet a TCP connection is reset towards the client; UDP is placed anew.`},
	"evict": {"End all flows of a real server", `End all connections of a real server, or of all of a service, once: their next packets are
new ones. TCP in midstream is answered with a reset; UDP is placed anew, at the same server
too unless it is drained.`},
}

func steerCommand(how string) *cobra.Command {
	return &cobra.Command{
		Use:   how + " SERVICE [SERVER]",
		Short: steering[how].short,
		Long: steering[how].long + `

SERVICE is 10.0.0.100:80, [2001:db8::1]:80 or fwmark:7, where there are several with /tcp,
/udp or /sctp (a mark: /inet, /inet6) behind it. SERVER is 10.0.0.21:80 or 10.0.0.21.
Results of checks and reloads leave this as it is while the server is in the file.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(how+" "+strings.Join(args, " "), cmd.OutOrStdout())
		},
	}
}

// steer carries out one of the commands, and tells what it was about.
func (r *reloader) steer(ctx context.Context, how string, words []string, w io.Writer) error {
	if len(words) < 1 || len(words) > 2 {
		return fmt.Errorf("%s SERVICE [SERVER]", how)
	}
	views, err := r.views(ctx)
	if err != nil {
		return err
	}
	view, err := serviceNamed(views, words[0])
	if err != nil {
		return err
	}
	var server netip.AddrPort
	if len(words) == 2 {
		if server, err = serverNamed(view, words[1]); err != nil {
			return err
		}
	}
	if how == "evict" && view.Kernel {
		return fmt.Errorf("the kernel's IPVS forwards %v, whose connections nobody can end: drain it, or let it fail", view.Key)
	}
	var ev node.Event = node.Steer{Service: view.Key, Server: server, To: map[string]forward.Steering{"drain": forward.Drain, "fail": forward.Fail}[how]}
	if how == "evict" {
		ev = node.Evict{Service: view.Key, Server: server}
	}
	var kernel forward.ServiceStatus
	if have, err := kernelServices(); view.Kernel && err == nil && have[view.Key] != nil {
		kernel = have[view.Key].Status()
	}
	conns := uint32(0)
	err = r.between(ctx, func() {
		s, ok := r.loop.Node.Status(view.Key)
		if !ok {
			s = kernel
		}
		for _, rs := range s.Servers {
			if rs.Addr == server || !server.IsValid() {
				conns += rs.Active + rs.Inactive
			}
		}
		r.loop.Give(ev)
	})
	if err != nil {
		return err
	}
	what := "all servers"
	if server.IsValid() {
		what = server.String()
	}
	_, err = fmt.Fprintf(w, "%s of %v: %s, %s\n", what, view.Key, done[how], status.Plural(int(conns), "connection"))
	return err
}

var done = map[string]string{"drain": "drained", "undrain": "takes new flows", "fail": "fails", "evict": "evicted"}

// serviceNamed finds the one service of a name.
func serviceNamed(views []node.ServiceView, name string) (*node.ServiceView, error) {
	var found []*node.ServiceView
	var all []string
	for i := range views {
		names := serviceNames(views[i].Key)
		all = append(all, names[1])
		if !slices.Contains(names, name) {
			continue
		}
		if k := slices.IndexFunc(found, func(v *node.ServiceView) bool { return v.Key == views[i].Key }); k >= 0 {
			*found[k] = found[k].With(views[i])
		} else {
			found = append(found, &views[i])
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no service %s: there is %s", name, strings.Join(all, ", "))
	}
	return nil, fmt.Errorf("several services are %s: write %s or the like", name, serviceNames(found[0].Key)[1])
}

// serverNamed finds the one server of a service with that address, with or without its port.
func serverNamed(view *node.ServiceView, name string) (netip.AddrPort, error) {
	var found []netip.AddrPort
	var all []string
	list := view.Servers
	if view.SorryServer.IsValid() {
		list = append(list[:len(list):len(list)], node.ServerView{Addr: view.SorryServer})
	}
	for _, s := range list {
		all = append(all, s.Addr.String())
		if s.Addr.String() == name || s.Addr.Addr().String() == name {
			found = append(found, s.Addr)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return netip.AddrPort{}, fmt.Errorf("%v has no server %s: it has %s", view.Key, name, strings.Join(all, ", "))
	}
	return netip.AddrPort{}, fmt.Errorf("%v has several servers %s: write the port, too", view.Key, name)
}

func explainCommand() *cobra.Command {
	flow := &cobra.Command{
		Use:   "flow CLIENT:PORT '->' VIP:PORT [udp|sctp] [mark N]",
		Short: "Where the packets of a flow go, and why",
		Long: `Tell where the director of this network namespace sends the packets of a flow: to which
server, since when, by which algorithm or template, and what the candidates are. Of a flow
that does not exist it tells what would become of it now, with that mark, and changes
nothing.

  ringkeep explain flow 192.0.2.7:40000 10.0.0.100:80
  ringkeep explain flow '192.0.2.7:53123 -> 10.0.0.100:53' udp`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			words := strings.Fields(strings.Join(args, " "))
			if _, err := parseFlow(words); err != nil {
				return err
			}
			return ask("explain "+strings.Join(words, " "), cmd.OutOrStdout())
		},
	}
	flow.Flags().SetInterspersed(false) // -> is no flag
	cmd := &cobra.Command{Use: "explain", Short: "Explain what the running director does"}
	cmd.AddCommand(flow)
	return cmd
}

func parseFlow(words []string) (f forward.Flow, err error) {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "->" })
	if n := len(words); n > 1 && words[n-2] == "mark" {
		mark, err := strconv.ParseUint(words[n-1], 0, 32)
		if err != nil {
			return f, fmt.Errorf("mark %s: must be a number", words[n-1])
		}
		f.Mark, words = uint32(mark), words[:n-2]
	}
	f.Protocol = proto.ProtocolTCP
	if n := len(words); n > 0 {
		if p, ok := map[string]uint8{"tcp": proto.ProtocolTCP, "udp": proto.ProtocolUDP, "sctp": proto.ProtocolSCTP}[words[n-1]]; ok {
			f.Protocol, words = p, words[:n-1]
		}
	}
	if len(words) != 2 {
		return f, errors.New("a flow is CLIENT:PORT VIP:PORT, with udp or sctp behind it unless it is TCP ('->' between them needs quotes)")
	}
	for i, to := range []*netip.AddrPort{&f.Client, &f.Virtual} {
		if *to, err = netip.ParseAddrPort(words[i]); err != nil {
			return f, fmt.Errorf("%s: must be an address and a port, as 10.0.0.1:80 or [2001:db8::1]:80", words[i])
		}
	}
	if f.Client.Addr().Is4() != f.Virtual.Addr().Is4() {
		return f, errors.New("the addresses are of different families")
	}
	return f, nil
}

func (r *reloader) explain(ctx context.Context, words []string, w io.Writer) error {
	flow, err := parseFlow(words)
	if err != nil {
		return err
	}
	views, err := r.views(ctx)
	if err != nil {
		return err
	}
	if err := explainKernel(views, flow); err != nil {
		return err
	}
	var e forward.Explanation
	var now time.Duration
	if err := r.between(ctx, func() {
		now = r.loop.Clock()
		e = r.loop.Node.Explain(now, flow, r.director.worker(flow.Client.Addr()))
	}); err != nil {
		return err
	}
	view := &node.ServiceView{}
	for i := range views {
		if e.Service != nil && views[i].Key == e.Service.Key {
			view = &views[i]
		}
	}
	_, err = io.WriteString(w, status.Explain(&e, view, now))
	return err
}
