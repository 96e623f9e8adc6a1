package config

import (
	"bufio"
	"errors"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Did is what happened to an object between two configurations.
type Did string

// What can have happened.
const (
	Added   Did = "added"
	Removed Did = "removed"
	Changed Did = "changed"
)

// Change is one object that is not the same in two configurations.
type Change struct {
	Kind   string // the keyword of its block; "" for what stands outside of blocks
	Name   string
	Within string // the virtual server of a real server
	Did    Did
	Pos    Pos // in the new configuration, of a removed one in the old
	Fields []Field
}

// Field is one keyword of a changed object with the lines that only one of the two
// configurations has.
type Field struct {
	Keyword string
	From    []string
	To      []string
	Kept    bool // it takes a restart: the running daemon keeps what it has
}

// hidden are the keywords whose values no log may hold.
var hidden = map[string]bool{"authentication": true, "auth_hmac": true, "SSL": true, "password": true}

// String is the change in one line for people.
func (c Change) String() string {
	words := []string{c.Kind, c.Name}
	if c.Within != "" {
		words = []string{"virtual_server", c.Within, c.Kind, c.Name}
	}
	var fields []string
	for _, f := range c.Fields {
		fields = append(fields, f.String())
	}
	all := strings.Join(fields, "; ")
	if c.Kind == "" {
		return all
	}
	text := strings.Join(slices.DeleteFunc(append(words, string(c.Did)), func(w string) bool { return w == "" }), " ")
	if all == "" {
		return text
	}
	return text + ": " + all
}

// String names the keyword with its old and new value, or what its list lost (-) and got (+).
func (f Field) String() string {
	text := f.Keyword
	switch {
	case hidden[f.Keyword]:
		text += " changed"
	case len(f.From) == 1 && len(f.To) == 1 && firstWord(f.From[0]) == f.Keyword:
		text = f.From[0] + " -> " + strings.TrimPrefix(f.To[0], f.Keyword+" ")
	default:
		for _, l := range f.From {
			text += " -" + strings.TrimPrefix(l, f.Keyword+" ")
		}
		for _, l := range f.To {
			text += " +" + strings.TrimPrefix(l, f.Keyword+" ")
		}
	}
	if f.Kept {
		text += " (kept as it is: takes a restart)"
	}
	return text
}

func firstWord(line string) string { w, _, _ := strings.Cut(line, " "); return w }

// restarts are the keywords that a running daemon cannot follow, by their block (reference
// 5.3). Others of keepalived's list have no meaning here.
var restarts = map[string]bool{
	"file net_namespace": true, "file instance": true, "global_defs random_seed": true,
	"global_defs startup_script": true, "global_defs connection_table": true, "global_defs startup_script_timeout": true,
	"global_defs vrrp_priority": true, "global_defs vrrp_rt_priority": true, "global_defs vrrp_cpu_affinity": true, "global_defs vrrp_no_swap": true,
}

// Diff tells what is not the same in b as in a, in the order of the keyword table; of two
// equal configurations nothing, wherever their lines stand. Instances are matched by what
// makes the virtual router ([Instance.Router]), not by name.
func Diff(a, b *Config) []Change {
	d := &difference{}
	t := tables()["file"]
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	top := Change{Did: Changed, Pos: b.Pos}
	for _, w := range t.rows {
		if w.status == alias || w.kind.name == "syntax" || w.index == nil {
			continue
		}
		fa, fb := w.field(va), w.field(vb)
		switch {
		case w.keyword == "vrrp_instance":
			d.instances(a, b)
		case w.keyword == "virtual_server":
			d.services(a, b)
		case fa.Kind() == reflect.Slice && fa.Type().Elem().Kind() == reflect.Pointer:
			d.list(w, fa, fb)
		case fa.Kind() == reflect.Struct && w.kind.name == "block":
			d.object(w.keyword, "", "", tables()[w.keyword], fa, fb, b.Global.Pos)
		default:
			top.Fields = append(top.Fields, d.fields("file", &table{name: "file", rows: []*row{w}}, va, vb, nil)...)
		}
	}
	if len(top.Fields) > 0 {
		d.all = append([]Change{top}, d.all...)
	}
	return d.all
}

// difference collects changes.
type difference struct{ all []Change }

func (d *difference) add(c Change) { d.all = append(d.all, c) }

// list compares the blocks of one keyword, matched by what stands behind it.
func (d *difference) list(w *row, a, b reflect.Value) {
	t := tables()[w.keyword]
	named := func(list reflect.Value, name string) reflect.Value {
		for i := range list.Len() {
			if nameOf(list.Index(i)) == name {
				return list.Index(i)
			}
		}
		return reflect.Value{}
	}
	pos := func(v reflect.Value) Pos { return v.Interface().(based).base().Pos }
	for i := range a.Len() {
		if name := nameOf(a.Index(i)); !named(b, name).IsValid() {
			d.add(Change{Kind: w.keyword, Name: name, Did: Removed, Pos: pos(a.Index(i))})
		}
	}
	for i := range b.Len() {
		name := nameOf(b.Index(i))
		was := named(a, name)
		if !was.IsValid() {
			d.add(Change{Kind: w.keyword, Name: name, Did: Added, Pos: pos(b.Index(i))})
			continue
		}
		if l, ok := was.Interface().(lister); ok {
			from, to := textLines(l.lines()), textLines(b.Index(i).Interface().(lister).lines())
			if f := (Field{Keyword: w.keyword, From: without(from, to), To: without(to, from)}); len(f.From)+len(f.To) > 0 {
				d.add(Change{Kind: w.keyword, Name: name, Did: Changed, Pos: pos(b.Index(i)), Fields: []Field{f}})
			}
			continue
		}
		d.object(w.keyword, name, "", t, was.Elem(), b.Index(i).Elem(), pos(b.Index(i)))
	}
}

// nameOf is what stands behind the keyword of a block.
func nameOf(v reflect.Value) string {
	if h, ok := v.Interface().(interface{ header() []string }); ok {
		return strings.Join(h.header(), " ")
	}
	if name := v.Elem().FieldByName("Name"); name.IsValid() {
		return name.String()
	}
	return ""
}

func (d *difference) object(kind, name, within string, t *table, a, b reflect.Value, pos Pos) {
	if f := d.fields(kind, t, a, b, nil); len(f) > 0 {
		d.add(Change{Kind: kind, Name: name, Within: within, Did: Changed, Pos: pos, Fields: f})
	}
}

// fields compares two blocks keyword by keyword, but for those that skip names.
func (d *difference) fields(block string, t *table, a, b reflect.Value, skip []string) []Field {
	var list []Field
	for _, w := range t.rows {
		if slices.Contains(skip, w.keyword) {
			continue
		}
		one := &table{name: t.name, rows: []*row{w}}
		from, to := printed(one, a), printed(one, b)
		if slices.Equal(from, to) {
			continue
		}
		f := Field{Keyword: w.keyword, From: without(from, to), To: without(to, from), Kept: restarts[block+" "+w.keyword]}
		if len(f.From)+len(f.To) == 0 {
			f.From, f.To = from, to // only their order
		}
		list = append(list, f)
	}
	return list
}

// printed is how the keywords of a table are written, without the braces around a list.
func printed(t *table, v reflect.Value) []string {
	var b strings.Builder
	p := &printer{w: bufio.NewWriter(&b)}
	p.block(t, v)
	p.w.Flush()
	var list []string
	for line := range strings.Lines(b.String()) {
		if line = strings.TrimPrefix(strings.TrimSpace(line), ours+" "); line != "}" && line != t.rows[0].keyword+" {" {
			list = append(list, strings.ReplaceAll(line, "\n", " "))
		}
	}
	return list
}

func textLines(lines [][]string) []string {
	var list []string
	for _, words := range lines {
		list = append(list, strings.Join(words, " "))
	}
	return list
}

// without is what list has and other has not.
func without(list, other []string) []string {
	rest := slices.Clone(other)
	var out []string
	for _, l := range list {
		if i := slices.Index(rest, l); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
			continue
		}
		out = append(out, l)
	}
	return out
}

// Router is what makes a virtual router on a host: an instance that has another one is
// another instance, whatever its name (reference 5.3).
type Router struct {
	VRID, Version uint8
	Family        int
	Interface     string
	Unicast       bool
	Source, Group netip.Addr
	VMAC          string
}

// Router tells which virtual router the instance is.
func (in *Instance) Router() Router {
	r := Router{VRID: in.VRID, Version: in.Version, Family: in.Family(), Interface: in.Interface, Unicast: len(in.UnicastPeers) > 0}
	if r.Unicast {
		r.Source = in.UnicastSource
	} else {
		r.Group = in.McastDestination
	}
	if in.UseVMAC != nil {
		r.VMAC = strings.Join(in.UseVMAC.words(), " ")
		if in.VMACXmitBase {
			r.VMAC += " vmac_xmit_base"
		}
	}
	return r
}

// Running lists the instances that can be started.
func (c *Config) Running() []*Instance {
	return slices.DeleteFunc(slices.Clone(c.Instances), func(in *Instance) bool { return in.Disabled != "" })
}

// Serving lists the services that can be served.
func (c *Config) Serving() []*VirtualServer {
	return slices.DeleteFunc(slices.Clone(c.VirtualServers), func(vs *VirtualServer) bool { return vs.Disabled != "" })
}

// Counterpart is the instance of the same virtual router among list, or nil.
func (in *Instance) Counterpart(list []*Instance) *Instance {
	r := in.Router()
	for _, other := range list {
		if other.Router() == r {
			return other
		}
	}
	return nil
}

func (d *difference) instances(a, b *Config) {
	const kind = "vrrp_instance"
	was, now := a.Running(), b.Running()
	for _, in := range was {
		if in.Counterpart(now) == nil {
			d.add(Change{Kind: kind, Name: in.Name, Did: Removed, Pos: in.Pos})
		}
	}
	for _, in := range now {
		old := in.Counterpart(was)
		if old == nil {
			d.add(Change{Kind: kind, Name: in.Name, Did: Added, Pos: in.Pos})
			continue
		}
		c := Change{Kind: kind, Name: in.Name, Did: Changed, Pos: in.Pos}
		if old.Name != in.Name {
			c.Fields = append(c.Fields, Field{Keyword: kind, From: []string{kind + " " + old.Name}, To: []string{kind + " " + in.Name}})
		}
		c.Fields = append(c.Fields, d.fields(kind, tables()[kind], reflect.ValueOf(old).Elem(), reflect.ValueOf(in).Elem(), nil)...)
		if len(c.Fields) > 0 {
			d.add(c)
		}
	}
}

func (d *difference) services(a, b *Config) {
	const kind = "virtual_server"
	find := func(list []*VirtualServer, vs *VirtualServer) *VirtualServer {
		for _, o := range list {
			if o.String() == vs.String() && o.Protocol == vs.Protocol && o.family() == vs.family() {
				return o
			}
		}
		return nil
	}
	name := func(vs *VirtualServer) string { return strings.Join(vs.header(), " ") }
	was, now := a.Serving(), b.Serving()
	for _, vs := range was {
		if find(now, vs) == nil {
			d.add(Change{Kind: kind, Name: name(vs), Did: Removed, Pos: vs.Pos})
		}
	}
	for _, vs := range now {
		old := find(was, vs)
		if old == nil {
			d.add(Change{Kind: kind, Name: name(vs), Did: Added, Pos: vs.Pos})
			continue
		}
		f := d.fields(kind, tables()[kind], reflect.ValueOf(old).Elem(), reflect.ValueOf(vs).Elem(), []string{"real_server"})
		if len(f) > 0 {
			d.add(Change{Kind: kind, Name: name(vs), Did: Changed, Pos: vs.Pos, Fields: f})
		}
		d.servers(name(vs), old, vs)
	}
}

func (d *difference) servers(within string, a, b *VirtualServer) {
	const kind = "real_server"
	find := func(list []*RealServer, addr netip.AddrPort) *RealServer {
		for _, o := range list {
			if o.Addr == addr {
				return o
			}
		}
		return nil
	}
	for _, rs := range a.RealServers {
		if find(b.RealServers, rs.Addr) == nil {
			d.add(Change{Kind: kind, Name: nameOf(reflect.ValueOf(rs)), Within: within, Did: Removed, Pos: rs.Pos})
		}
	}
	for _, rs := range b.RealServers {
		old := find(a.RealServers, rs.Addr)
		if old == nil {
			d.add(Change{Kind: kind, Name: nameOf(reflect.ValueOf(rs)), Within: within, Did: Added, Pos: rs.Pos})
			continue
		}
		d.object(kind, nameOf(reflect.ValueOf(rs)), within, tables()[kind], reflect.ValueOf(old).Elem(), reflect.ValueOf(rs).Elem(), rs.Pos)
	}
}

// Unfit tells why a running daemon does not go on with a configuration, by what was found
// in its file and what had been found in the running one: errors, and warnings that are
// new, since a line that is ignored may be an instance that goes away. With
// reload_check_config, in either file, all warnings count. The error has a line for each.
func (c *Config) Unfit(found []Message, running *Config, before []Message) error {
	strict := c.Global.ReloadCheckConfig.On || running.Global.ReloadCheckConfig.On
	known := func(m Message) bool {
		return slices.ContainsFunc(before, func(o Message) bool { return unplaced(o.Text) == unplaced(m.Text) && o.Source == m.Source })
	}
	var wrong []string
	for _, m := range found {
		if m.Level == Error || m.Level == Warning && (strict || !known(m)) {
			wrong = append(wrong, m.String())
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}

// places are those of other lines that a message names.
var places = regexp.MustCompile(`[^ :]+:\d+:\d+\b|\bline \d+\b`)

// unplaced is a text without them: they move with the lines above.
func unplaced(text string) string { return places.ReplaceAllString(text, "") }

// Same tells whether two checks ask the same thing of the same server, whenever they do and
// whatever follows from the answer. Of a UDP_CHECK only the way there counts, as in
// keepalived.
func (c *Check) Same(o *Check) bool {
	t := tables()[c.Kind]
	asked := func(c *Check) []string {
		return slices.DeleteFunc(printed(t, reflect.ValueOf(c).Elem()), func(line string) bool {
			keyword, _, _ := strings.Cut(line, " ")
			switch keyword {
			case "delay_loop", "retry", "delay_before_retry", "warmup", "alpha", "log_all_failures", "fast_recovery", "connect_timeout", "misc_timeout":
				return true
			case "payload", "require_reply", "min_reply_length", "max_reply_length":
				return c.Kind == "UDP_CHECK"
			}
			return false
		})
	}
	return c.Kind == o.Kind && c.Connect == o.Connect && c.Bind == o.Bind && slices.Equal(asked(c), asked(o))
}

// Asks is all that a check of the server at addr does, and when, as a text: two checks with
// the same are one to that server. A PING_CHECK has no port, a script goes nowhere.
func (c *Check) Asks(addr netip.Addr) string {
	to := c.Connect
	switch c.Kind {
	case "PING_CHECK":
		to = netip.AddrPortFrom(to.Addr(), 0)
	case "MISC_CHECK":
		to = netip.AddrPort{}
	}
	words := []string{c.Kind, addr.String(), to.String(), c.Bind.String()}
	for _, line := range printed(tables()[c.Kind], reflect.ValueOf(c).Elem()) {
		switch keyword, _, _ := strings.Cut(line, " "); keyword {
		case "connect_ip", "connect_port", "bindto", "bind_port": // said already
		default:
			words = append(words, line)
		}
	}
	for _, u := range c.URLs {
		words = append(words, u.SNI)
	}
	return strings.Join(words, "\n")
}
