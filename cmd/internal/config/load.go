package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Options is what changes the meaning of a file from outside.
type Options struct {
	ConfigID string // of lines that start with @ID; the host name if empty
}

// Load reads a file. The error is one line that names a file that cannot be read;
// what is wrong inside comes as messages, sorted by position.
func Load(path string, o Options) (*Config, []Message, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("%s: no such file: name a keepalived.conf", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, nil, fmt.Errorf("%s: permission denied: needs read permission", path)
	case err != nil:
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return nil, nil, fmt.Errorf("%s: is a directory: name a file in it", path)
		}
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	case bytes.IndexByte(text, 0) >= 0:
		return nil, nil, fmt.Errorf("%s: is a binary file: name a keepalived.conf", path)
	}
	cfg, messages := Parse(path, text, o)
	return cfg, messages, nil
}

// Parse reads the text of a file. The result is usable where no message is an Error.
func Parse(name string, text []byte, o Options) (*Config, []Message) {
	r := &reader{cfg: &Config{Global: defaultGlobal()}}
	tree := parse(r, lex(r, name, string(text)))
	tree = r.condition(tree, o)
	// global_defs first: its values are the defaults of what stands above it, too.
	for i := range tree {
		if tree[i].keyword() == "global_defs" {
			walk(r, "global_defs", tree[i].block, globalTable(), &r.cfg.Global)
		}
	}
	for i := range tree {
		r.top(&tree[i])
	}
	r.crossCheck()
	return r.cfg, r.sorted()
}

// condition drops the statements behind an @ID that is not ours, and the ID of those
// behind one that is.
func (r *reader) condition(tree []stmt, o Options) []stmt {
	id := o.ConfigID
	if id == "" {
		host, _ := os.Hostname()
		id, _, _ = strings.Cut(host, ".")
	}
	var kept []stmt
	for _, s := range tree {
		if name, ok := strings.CutPrefix(s.keyword(), "@"); ok {
			not, negated := strings.CutPrefix(name, "^")
			if (negated && not == id) || (!negated && name != id) || len(s.words) == 1 {
				continue
			}
			s.words = s.words[1:]
		}
		s.block = r.condition(s.block, o)
		kept = append(kept, s)
	}
	return kept
}

func (r *reader) top(s *stmt) {
	switch s.keyword() {
	case "global_defs":
	case "vrrp_script":
		r.script(s)
	case "vrrp_instance":
		r.instance(s)
	case "virtual_server":
		r.virtualServer(s)
	case "include", "includer", "includem", "includew", "includeb", "includea":
		r.say(Error, s.pos(), "%s %s: this version reads one file: put its text here", s.keyword(), filepath.Base(s.arg(0)))
	default:
		if strings.HasPrefix(s.keyword(), "$") || strings.HasPrefix(s.keyword(), "~") {
			r.say(Error, s.pos(), "%s: definitions and repetitions are not known to this version: write them out", s.keyword())
			return
		}
		r.unknown("(top)", s, []string{"global_defs", "vrrp_script", "vrrp_instance", "virtual_server"})
	}
}

// crossCheck compares what stands in different blocks.
func (r *reader) crossCheck() {
	type router struct {
		iface string
		vrid  uint8
	}
	seen := map[router]*Instance{}
	names := map[string]*Instance{}
	for _, in := range r.cfg.Instances {
		key := router{in.Interface, in.VRID}
		if other := seen[key]; other != nil && len(in.UnicastPeers) == 0 && len(other.UnicastPeers) == 0 {
			r.say(Error, in.Pos, "%s: virtual_router_id %d is taken on %s by %s", in.Name, in.VRID, in.Interface, other.Name)
		}
		if other := names[in.Name]; other != nil {
			r.say(Error, in.Pos, "vrrp_instance %s stands at %v already", in.Name, other.Pos)
		}
		seen[key], names[in.Name] = in, in
		r.knownScripts(in)
	}
	services := map[string]*VirtualServer{}
	for _, vs := range r.cfg.VirtualServers {
		key := fmt.Sprint(vs.Protocol, vs.Addr)
		if other := services[key]; other != nil {
			r.say(Error, vs.Pos, "virtual_server %v stands at %v already", vs.Addr, other.Pos)
		}
		services[key] = vs
	}
}

func (r *reader) knownScripts(in *Instance) {
	kept := in.TrackScripts[:0]
	for _, t := range in.TrackScripts {
		found := false
		for _, s := range r.cfg.Scripts {
			found = found || s.Name == t.Name && before(s.Pos, t.Pos)
		}
		if !found {
			r.say(Warning, t.Pos, "track_script %s: no vrrp_script of that name above; it is ignored", t.Name)
			continue
		}
		kept = append(kept, t)
	}
	in.TrackScripts = kept
}

func before(a, b Pos) bool { return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column }
