package config

import (
	_ "embed"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// status says what this version does with a keyword.
type status string

const (
	done     status = "done"     // it has its effect
	later    status = "later"    // read and checked; the effect is still to come
	accepted status = "accepted" // read and checked; it has no meaning here
	refused  status = "refused"
	alias    status = "alias" // another spelling of a keyword
)

// row is a line of keywords.tsv: one keyword of one block. The file is the only place
// that has a keyword's arguments, range, default and state.
type row struct {
	block     *table
	keyword   string
	arguments string // as the manual writes them
	kind      kind
	fallback  string // the default: -, a value, (a description), ^ (of the block around) or global
	status    status
	meaning   string
	note      string
	index     []int // of the field in the struct of the block; nil if there is none
	self      bool  // the value is the struct of the block itself
	mandatory bool  // keepalived stops at the bare keyword
	global    []int // of the field of Global that the default comes from
}

// newer tells whether the keyword came after the version that we are held against.
func (w *row) newer() bool { return strings.HasPrefix(w.note, "newer than") }

// ours tells whether keepalived has no such keyword: it stands behind @ringkeep.
func (w *row) ours() bool { return strings.HasPrefix(w.note, "only here") }

// literal tells whether the default is a value of the keyword's own kind.
func (w *row) literal() (string, bool) {
	f := w.fallback
	return f, f != "" && f != "-" && f != "global" && f[0] != '(' && f[0] != '^'
}

// single tells whether a second line of the keyword takes the place of the first.
func (w *row) single() bool {
	return w.kind.name != "flag" && w.kind.name != "unflag" && w.index != nil && w.keyword != "digest" && w.keyword != "packet_mark" && w.keyword != "status_code" && w.keyword != "key"
}

func (w *row) field(v reflect.Value) reflect.Value {
	switch {
	case w.self:
		return v
	case w.index == nil:
		return reflect.Value{}
	}
	return v.FieldByIndex(w.index)
}

// table is the keywords of a block.
type table struct {
	name   string
	rows   []*row
	byName map[string]*row
}

// The structs that blocks are read into.
var structs = map[string]reflect.Type{
	"file": reflect.TypeFor[Config](), "global_defs": reflect.TypeFor[Global](),
	"address": reflect.TypeFor[Address](), "route": reflect.TypeFor[Route](), "rule": reflect.TypeFor[Rule](),
	"track_group": reflect.TypeFor[TrackGroup](), "garp_group": reflect.TypeFor[GARPGroup](),
	"vrrp_sync_group": reflect.TypeFor[SyncGroup](), "vrrp_instance": reflect.TypeFor[Instance](),
	"authentication": reflect.TypeFor[Instance](), "auth_hmac": reflect.TypeFor[HMAC](),
	"vrrp_script": reflect.TypeFor[Script](), "vrrp_track_process": reflect.TypeFor[TrackProcess](),
	"track_file": reflect.TypeFor[TrackFile](), "bfd_instance": reflect.TypeFor[BFD](), "SSL": reflect.TypeFor[SSL](),
	"virtual_server": reflect.TypeFor[VirtualServer](), "real_server": reflect.TypeFor[RealServer](),
	"url":      reflect.TypeFor[URL](),
	"HTTP_GET": reflect.TypeFor[Check](), "SSL_GET": reflect.TypeFor[Check](), "TCP_CHECK": reflect.TypeFor[Check](),
	"SMTP_CHECK": reflect.TypeFor[Check](), "host": reflect.TypeFor[Check](), "DNS_CHECK": reflect.TypeFor[Check](),
	"MISC_CHECK": reflect.TypeFor[Check](), "BFD_CHECK": reflect.TypeFor[Check](), "UDP_CHECK": reflect.TypeFor[Check](),
	"PING_CHECK": reflect.TypeFor[Check](), "FILE_CHECK": reflect.TypeFor[Check](),
}

//go:embed keywords.tsv
var keywordsTSV string

// tables returns the keywords of every block by its name.
var tables = sync.OnceValue(func() map[string]*table {
	all := map[string]*table{}
	var rows []*row
	for i, text := range strings.Split(strings.TrimSuffix(keywordsTSV, "\n"), "\n") {
		c := strings.Split(text, "\t")
		if len(c) != 9 {
			panic(fmt.Sprintf("keywords.tsv:%d: %d columns", i+1, len(c)))
		}
		if i == 0 {
			continue
		}
		for block := range strings.FieldsSeq(c[0]) {
			t := all[block]
			if t == nil {
				t = &table{name: block, byName: map[string]*row{}}
				all[block] = t
			}
			w := newRow(t, c)
			t.rows = append(t.rows, w)
			t.byName[w.keyword] = w
			rows = append(rows, w)
		}
	}
	for _, w := range rows {
		w.bind()
	}
	return all
})

func newRow(t *table, c []string) *row {
	w := &row{block: t, keyword: c[1], arguments: c[2], fallback: c[5], status: status(c[6]), meaning: c[7], note: c[8]}
	text, mandatory := strings.CutSuffix(c[3], "!")
	w.mandatory = mandatory
	w.kind = parseKind(text)
	if c[4] == "." {
		w.self = true
	} else if c[4] != "" || w.status == done || w.status == later {
		w.index = fieldNamed(structs[t.name], c[4], w.keyword)
	}
	return w
}

// bind resolves what rows say of each other: an alias is bound to what it stands for.
func (w *row) bind() {
	if w.fallback == "global" {
		w.global = fieldNamed(structs["global_defs"], "", w.keyword)
		if name := globalNames[w.keyword]; name != "" {
			w.global = fieldNamed(structs["global_defs"], name, "")
		}
	}
	if w.status != alias {
		return
	}
	target := w.block.byName[w.kind.target]
	if target == nil {
		panic(w.block.name + " " + w.keyword + ": alias of nothing")
	}
	w.kind, w.index, w.self, w.mandatory = target.kind, target.index, target.self, target.mandatory
	w.kind.target, w.meaning, w.fallback = target.keyword, target.meaning, target.fallback
}

// globalNames are the fields of Global whose keyword in a block has another name.
var globalNames = map[string]string{"strict_mode": "Strict", "log_all_failures": "CheckerLogAllFailures"}

// fieldNamed finds the field of a struct: the one named, or the one that a keyword
// names by its letters and digits, in any case.
func fieldNamed(t reflect.Type, name, keyword string) []int {
	if t == nil {
		return nil
	}
	if name == "" {
		name = strings.NewReplacer("_", "", "-", "").Replace(keyword)
	}
	short, _ := strings.CutPrefix(strings.ToLower(name), "vrrp")
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && (strings.EqualFold(f.Name, name) || strings.EqualFold(f.Name, short)) {
			return f.Index
		}
	}
	return nil
}

// names lists the keywords of a block.
func (t *table) names() []string {
	var list []string
	for _, w := range t.rows {
		list = append(list, w.keyword)
	}
	return list
}

// blocksWith lists the blocks that know a keyword.
func blocksWith(keyword string) []string {
	var list []string
	for name, t := range tables() {
		if t.byName[keyword] != nil && name != "file" {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// nearest returns the keyword with the fewest typing errors, "" if none is near.
func nearest(s string, words []string) string {
	best, least := "", 1+min(3, (len(s)+2)/3)
	if len(s) > 40 {
		return ""
	}
	words = slices.Clone(words)
	slices.Sort(words)
	for _, w := range words {
		if len(w)-len(s) >= least || len(s)-len(w) >= least {
			continue
		}
		if d := distance(s, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts insertions, deletions, substitutions and swaps of neighbours.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
