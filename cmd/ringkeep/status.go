package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringkeep/ringkeep/cmd/internal/node"
	"github.com/ringkeep/ringkeep/cmd/internal/status"
	"github.com/ringkeep/ringkeep/forward"
	"github.com/ringkeep/ringkeep/forward/ipvs"
)

// How much the loop looks at between two events: a fraction of a millisecond.
const (
	sliceServers = 256
	sliceConns   = 1024
)

// statusFlags are those of ipvsadm that choose what is shown, each a word of the question.
var statusFlags = []struct{ name, letter, help string }{
	{"list", "L", "list the services and servers as ipvsadm does"},
	{"connection", "c", "list the connections"},
	{"stats", "", "list counters"},
	{"rate", "", "list rates a second"},
	{"thresholds", "", "list connection thresholds"},
	{"persistent-conn", "", "list persistent connections"},
	{"timeout", "", "list the timeouts of connections"},
	{"save", "S", "list the commands of ipvsadm that make it"},
	{"exact", "", "do not shorten counters"},
	{"nosort", "", "list in the order in which servers are asked"},
	{"json", "", "write JSON"},
}

func statusCommand() *cobra.Command {
	on := map[string]*bool{}
	var tcp, udp, sctp string
	var mark uint32
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the running director stands",
		Long: `Show how the director of this network namespace stands: its instances, services and
real servers. With the flags of ipvsadm the output is that of ipvsadm -n, byte for byte:

  ringkeep status -Ln --stats        counters (with --exact all digits)
  ringkeep status -Ln --rate         a second, averaged over some eight seconds
  ringkeep status -Lnc               connections
  ringkeep status -S -n              commands for ipvsadm-restore

Addresses and ports are always numbers. With --json everything is one object, and with -c
one object a line for each connection.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			words := []string{"status"}
			for _, f := range statusFlags {
				if *on[f.name] {
					words = append(words, f.name)
				}
			}
			for _, s := range []struct{ option, value string }{{"tcp", tcp}, {"udp", udp}, {"sctp", sctp}} {
				if s.value != "" {
					words = append(words, "service="+s.value+"/"+s.option)
				}
			}
			if mark != 0 {
				words = append(words, fmt.Sprintf("service=fwmark:%d", mark))
			}
			if _, err := parseStatus(words[1:]); err != nil {
				return err
			}
			return ask(strings.Join(words, " "), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	for _, s := range statusFlags {
		on[s.name] = f.BoolP(s.name, s.letter, false, s.help)
	}
	f.StringVarP(&tcp, "tcp-service", "t", "", "only this service: `ADDRESS:PORT`")
	f.StringVarP(&udp, "udp-service", "u", "", "only this service: `ADDRESS:PORT`")
	f.StringVar(&sctp, "sctp-service", "", "only this service: `ADDRESS:PORT`")
	f.Uint32VarP(&mark, "fwmark-service", "f", 0, "only the service of this `MARK`")
	f.BoolP("numeric", "n", false, "what is always the case")
	f.Bool("sort", false, "what is the case without --nosort")
	f.BoolVarP(on["list"], "lists", "l", false, "as -L")
	f.Lookup("lists").Hidden = true
	return cmd
}

// statusQuestion is what somebody wants to see; without anything the overview.
type statusQuestion struct {
	list, conns, timeout, json bool
	status.Options
	service string
}

func parseStatus(words []string) (q statusQuestion, err error) {
	forms := map[string]status.Form{
		"stats": status.Counts, "rate": status.Rates, "thresholds": status.Thresholds, "persistent-conn": status.PersistentConn, "save": status.Save,
	}
	formed := ""
	for _, w := range words {
		if form, ok := forms[w]; ok {
			if formed != "" {
				return q, fmt.Errorf("--%s and --%s: only one of them", formed, w)
			}
			q.Form, q.list, formed = form, true, w
			continue
		}
		switch w {
		case "list":
			q.list = true
		case "connection":
			q.conns = true
		case "timeout":
			q.timeout = true
		case "json":
			q.json = true
		case "exact":
			q.Exact = true
		case "nosort":
			q.NoSort = true
		default:
			name, ok := strings.CutPrefix(w, "service=")
			if !ok || q.service != "" {
				return q, fmt.Errorf("%s: not understood, or said twice", w)
			}
			q.service, q.list = name, true
		}
	}
	if q.conns && (q.service != "" || formed != "" && q.Form != status.PersistentConn) {
		return q, errors.New("--connection lists all connections: it goes with --persistent-conn and --json only")
	}
	return q, nil
}

// status writes what was asked for, in slices.
func (r *reloader) status(ctx context.Context, words []string, w io.Writer) error {
	q, err := parseStatus(words)
	switch {
	case err != nil:
		return err
	case q.conns:
		return r.writeConns(ctx, q, w)
	case q.timeout:
		return r.writeTimeouts(ctx, w)
	case q.list && !q.json:
		return r.writeList(ctx, q, w)
	}
	return r.writeReport(ctx, q, w)
}

func (r *reloader) writeConns(ctx context.Context, q statusQuestion, w io.Writer) error {
	var list []forward.Conn
	var text []byte
	if !q.json {
		text = append(text, status.ConnTitle(q.Options)...)
	}
	for at := int64(0); at >= 0; {
		var now time.Duration
		if err := r.between(ctx, func() {
			now = r.loop.Clock()
			list, at = r.loop.Node.ConnsFrom(at, sliceConns, list[:0])
		}); err != nil {
			return err
		}
		for i := range list {
			if q.json {
				text = status.AppendJSON(text, now, &list[i])
			} else {
				text = status.AppendConn(text, now, &list[i])
			}
		}
		if len(text) > 0 {
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
		text = text[:0]
	}
	views, err := r.views(ctx)
	if err != nil || !slices.ContainsFunc(views, func(v node.ServiceView) bool { return v.Kernel }) {
		return err
	}
	return writeKernelConns(w, q.json)
}

func (r *reloader) writeTimeouts(ctx context.Context, w io.Writer) error {
	views, err := r.views(ctx)
	if err != nil {
		return err
	}
	tcp, fin, udp, err := r.timeouts(ctx, views)
	if err == nil {
		_, err = io.WriteString(w, status.Timeouts(tcp, fin, udp))
	}
	return err
}

// services takes the services of the forwarder.
func (r *reloader) services(ctx context.Context) (list []forward.ServiceStatus, err error) {
	for at := 0; at >= 0 && err == nil; {
		err = r.between(ctx, func() { list, at = r.loop.Node.StatusFrom(at, sliceServers, list) })
	}
	return list, err
}

// views takes what the node knows of the services.
func (r *reloader) views(ctx context.Context) (list []node.ServiceView, err error) {
	for at := 0; at >= 0 && err == nil; {
		err = r.between(ctx, func() { list, at = r.loop.Node.ServicesFrom(at, sliceServers, list) })
	}
	return together(list), err
}

// everyService takes the services of the ring, those of the kernel, and what the node knows of both.
func (r *reloader) everyService(ctx context.Context) (ring, kernel []forward.ServiceStatus, views []node.ServiceView, err error) {
	if ring, err = r.services(ctx); err == nil {
		views, err = r.views(ctx)
	}
	if err == nil {
		kernel, err = inKernel(views)
	}
	return ring, kernel, views, err
}

func (r *reloader) writeList(ctx context.Context, q statusQuestion, w io.Writer) error {
	list, kernel, views, err := r.everyService(ctx)
	if err != nil {
		return err
	}
	list = append(list, listed(kernel)...)
	size := 0
	if err := r.between(ctx, func() { size = r.loop.Node.Totals().Size }); err != nil {
		return err
	}
	if !inRing(views) {
		if size, err = kernelSize(); err != nil {
			return err
		}
	}
	head := status.Heading(q.Options, size)
	if q.service != "" {
		if list = only(list, q.service); len(list) == 0 {
			//lint:ignore ST1005 ipvsadm says it so
			return errors.New("No such service")
		}
		head = status.Title(q.Options)
	}
	_, err = w.Write(append([]byte(head), status.Services(list, q.Options)...))
	return err
}

// only keeps the services of a name.
func only(list []forward.ServiceStatus, name string) []forward.ServiceStatus {
	return slices.DeleteFunc(list, func(s forward.ServiceStatus) bool { return !slices.Contains(serviceNames(s.Key), name) })
}

func (r *reloader) writeReport(ctx context.Context, q statusQuestion, w io.Writer) error {
	services, kernel, views, err := r.everyService(ctx)
	if err != nil {
		return err
	}
	services = append(services, kernel...)
	tcp, fin, udp, err := r.timeouts(ctx, views)
	if err != nil && !errors.Is(err, ipvs.ErrMissing) {
		return err
	}
	report := status.Report{Version: version, Verdicts: map[string]uint64{}}
	var now time.Duration
	var instances []node.InstanceView
	var scripts []node.ScriptView
	err = r.between(ctx, func() {
		sum := r.loop.Node.Totals()
		now = r.loop.Clock()
		report.Running, report.Connections = now.Seconds(), sum.Conns
		for v := range forward.Verdicts {
			report.Verdicts[v.String()] = sum.Verdicts[v]
		}
		report.Timeouts = status.Timeout{TCP: tcp.Seconds(), TCPFin: fin.Seconds(), UDP: udp.Seconds()}
		instances, scripts = r.loop.Node.Instances(), r.loop.Node.Scripts()
		report.Refused = r.director.cfg.Refused
		report.AddBFD(now, r.loop.Node.BFDs())
	})
	if err != nil {
		return err
	}
	report.Add(now, instances, scripts, views, services)
	if !q.json {
		_, err = io.WriteString(w, report.String())
		return err
	}
	if q.service != "" {
		report.Services = slices.DeleteFunc(report.Services, func(s status.Service) bool { return !slices.Contains(serviceNames(s.Key()), q.service) })
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

// serviceNames are those by which a service may be meant: 10.0.0.1:80/tcp, and without the
// protocol; fwmark:7, and with inet or inet6.
func serviceNames(k forward.ServiceKey) []string {
	if k.Mark != 0 {
		name, family := "fwmark:"+strconv.FormatUint(uint64(k.Mark), 10), "/inet"
		if k.Addr.Addr().Is6() {
			family = "/inet6"
		}
		return []string{name, name + family}
	}
	name := k.Addr.String()
	return []string{name, name + "/" + strings.ToLower(status.ProtocolName(k.Protocol))}
}
