package config

import (
	"bufio"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Print writes the configuration in keepalived's syntax, with every default filled in.
// Reading that gives the same configuration.
func (c *Config) Print(w io.Writer) error {
	p := &printer{w: bufio.NewWriter(w), global: &c.Global}
	p.block(tables()["file"], reflect.ValueOf(c).Elem())
	return p.w.Flush()
}

type printer struct {
	w      *bufio.Writer
	depth  int
	global *Global
}

func (p *printer) line(words ...string) {
	p.w.WriteString(strings.Repeat("    ", p.depth))
	if len(words) > 1 && words[0] == ours {
		p.w.WriteString(ours + " ")
		words = words[1:]
	}
	for i, word := range words {
		if i > 0 {
			p.w.WriteByte(' ')
		}
		if i > 0 && escaped()[words[0]] {
			p.w.WriteString(quoteEscaped(word))
		} else {
			p.w.WriteString(quote(word))
		}
	}
	p.w.WriteByte('\n')
}

// quote puts a word into quotes where it needs them. In plain words there is no double
// quote, and single quotes and backslashes are characters.
func quote(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\r\f\v#!{}~@") && !strings.HasSuffix(word, `\`) {
		return word
	}
	return `"` + word + `"`
}

// quoteEscaped writes a word for the keywords that know more quotes, and escapes. In
// double quotes a backslash stays, except before a quote.
func quoteEscaped(word string) string {
	if strings.HasSuffix(word, `\`) || strings.Contains(word, `\"`) {
		var b strings.Builder
		for i := range len(word) {
			b.WriteString(`\` + word[i:i+1])
		}
		return b.String()
	}
	if strings.ContainsAny(word, `'"\`) {
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	return quote(word)
}

func (p *printer) open(words []string, inside func()) {
	p.w.WriteString(strings.Repeat("    ", p.depth))
	for _, word := range words {
		p.w.WriteString(quote(word) + " ")
	}
	p.w.WriteString("{\n")
	p.depth++
	inside()
	p.depth--
	p.w.WriteString(strings.Repeat("    ", p.depth) + "}\n")
}

// block writes the keywords of a block in the order of its table.
func (p *printer) block(t *table, v reflect.Value) {
	base := v.Addr().Interface().(based).base()
	for _, w := range t.rows {
		if w.status == alias || w.kind.name == "syntax" || w.index == nil && !w.self || !p.has(w, base) {
			continue
		}
		f := w.field(v)
		if w.kind.name == "block" {
			p.inner(w, f)
			continue
		}
		if (w.kind.name == "int" || w.kind.name == "seconds") && f.IsZero() && w.kind.lo > 0 {
			continue // 0 cannot be written
		}
		if w.ours() {
			p.own(w, f)
			continue
		}
		switch list := f.Interface().(type) {
		case Digests:
			for _, d := range list {
				p.line(w.keyword, d)
			}
		case Keys:
			for _, id := range slices.Sorted(maps.Keys(list)) {
				p.line(w.keyword, strconv.Itoa(int(id)), list[id])
			}
		default:
			if words, ok := w.kind.words(f); ok {
				p.line(append([]string{w.keyword}, words...)...)
			}
		}
	}
}

// own writes a keyword that keepalived does not know, behind what it skips.
func (p *printer) own(w *row, f reflect.Value) {
	if list, ok := f.Interface().(PacketMarks); ok {
		for i := range list {
			p.line(append([]string{ours, w.keyword}, list[i].line()...)...)
		}
		return
	}
	if words, ok := w.kind.words(f); ok {
		p.line(append([]string{ours, w.keyword}, words...)...)
	}
}

// has tells whether there is a value: one that is written or inherited, or a default.
// What is off or empty writes nothing anyway.
func (p *printer) has(w *row, base *Block) bool {
	switch {
	case (w.newer() || w.ours()) && !base.Has(w.keyword):
		return false // older keepalived would complain
	case w.kind.name == "block" || base.Has(w.keyword) || w.fallback == "global":
		return true
	case w.fallback == "-":
		return w.kind.name != "int" && w.kind.name != "seconds"
	case w.fallback[0] == '^':
		return w.fallback != "^"
	}
	return w.fallback[0] != '(' || computed[w.keyword]
}

// computed are the keywords whose default depends on others, and is resolved.
var computed = map[string]bool{
	"state": true, "priority": true, "timeout": true, "vrrp_garp_lower_prio_delay": true, "vrrp_garp_lower_prio_repeat": true,
	"smtp_alert": true, "protocol": true, "misc_timeout": true, "time_window": true, "user": true,
}

// inner writes the blocks of a keyword: none, one, or a list of them.
func (p *printer) inner(w *row, f reflect.Value) {
	t := tables()[w.keyword]
	switch {
	case w.self:
		if f.Interface().(Instance).AuthType != "" {
			p.open([]string{w.keyword}, func() { p.block(t, f) })
		}
	case f.Kind() == reflect.Struct:
		p.open([]string{w.keyword}, func() { p.block(t, f) })
	case f.Kind() == reflect.Pointer:
		if !f.IsNil() {
			p.open([]string{w.keyword}, func() { p.block(t, f.Elem()) })
		}
	default:
		if list, ok := f.Addr().Interface().(lister); ok {
			p.values(w.keyword, list)
			return
		}
		for i := range f.Len() {
			p.one(w, t, f.Index(i))
		}
	}
}

func (p *printer) values(keyword string, list lister) {
	lines := list.lines()
	if len(lines) == 0 {
		return
	}
	p.open(strings.Fields(keyword), func() {
		for _, words := range lines {
			p.line(words...)
		}
	})
}

// one writes a block of which there may be several.
func (p *printer) one(w *row, t *table, v reflect.Value) {
	if c, ok := v.Interface().(*Check); ok && c.Kind != w.keyword {
		return
	}
	words := []string{w.keyword}
	if h, ok := v.Interface().(interface{ header() []string }); ok {
		words = append(words, h.header()...)
	} else if name := v.Elem().FieldByName("Name"); name.IsValid() {
		words = append(words, name.String())
	}
	if list, ok := v.Interface().(lister); ok {
		p.values(strings.Join(words, " "), list)
		return
	}
	p.open(words, func() { p.block(t, v.Elem()) })
}
