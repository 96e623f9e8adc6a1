package config

import (
	"math/rand/v2"
	"reflect"
	"strings"
)

// reader collects what a file means and what is found while it is read.
type reader struct {
	cfg      *Config
	options  Options
	src      *source
	messages []Message
	random   *rand.Rand
	remarked map[*row]bool
	later    int                      // blocks around that have no effect yet: what is in them is not told again
	told     map[Pos]bool             // words that were told of while the line was split
	hidden   map[Pos]bool             // lines, by column 0, that keepalived does not see
	blanks   map[string]reflect.Value // blocks with their literal defaults
	known    int                      // keywords that had a meaning
	unknown  int                      // and that had none
	stop     bool
	defs     map[string]definitions
	record   []setting // what --explain asks for

	preferences [2]uint32 // how many rules of IPv4 and IPv6 were given one
}

// setting is a keyword that was read, the name of its block, and the struct of that.
type setting struct {
	at    Pos
	row   *row
	block string
	value reflect.Value
}

// note remembers a keyword if its line is to be explained.
func (r *reader) note(p Pos, w *row, block string, v reflect.Value) {
	if p.Line == r.options.Explain {
		r.record = append(r.record, setting{p, w, block, v})
	}
}

// lister is a block whose lines are values.
type lister interface {
	line(r *reader, words []token)
	lines() [][]string
}

// header reads what stands between the keyword of a block and its brace.
type header interface{ head(a *args) bool }

// closer judges a block at its end; what it returns false for is dropped.
type closer interface{ close(r *reader) bool }

// based is what embeds Block.
type based interface{ base() *Block }

// block reads the statements of a block by its table up to its closing brace. Braces
// are counted as keepalived counts them: an unknown keyword does not take its block
// along, so the } of that block ends this one.
func (r *reader) block(t *table, v reflect.Value, opened token, braced bool) {
	base := v.Addr().Interface().(based).base()
	for !r.stop {
		words, ok := r.src.statement()
		if !ok {
			if t.name != "file" {
				r.say(Warning, opened.pos, "%s is not closed: a } is missing before the end of the file", opened.text)
			}
			return
		}
		k := words[0]
		switch {
		case k.is("{") && !braced:
			braced = true
			continue
		case k.is("{"):
			r.say(Warning, k.pos, "{ has no keyword of a block in front of it; it is ignored")
			continue
		case !braced:
			braced = true
			r.say(Warning, k.pos, "%s has no {: its block begins with this line all the same", opened.text)
		}
		if k.is("}") {
			if t.name != "file" {
				return
			}
			r.say(Warning, k.pos, "extra } closes no block")
			continue
		}
		r.keyword(t, v, base, words, opened)
	}
}

// keyword reads one statement of a block.
func (r *reader) keyword(t *table, v reflect.Value, base *Block, words []token, opened token) {
	k := words[0]
	w := t.byName[k.text]
	if w == nil || w.kind.name == "syntax" {
		r.unknownKeyword(t, words, opened)
		return
	}
	r.known++
	r.remark(w, k.pos)
	if w.ours() {
		r.onlyHere(k, k.text)
	}
	if k.text == "debug" && len(words) == 1 {
		r.say(Warning, k.pos, "debug needs a number for keepalived, which stops here; it is ignored")
		return
	}
	if w.kind.name == "block" {
		r.openBlock(w, v, base, words, opened)
		return
	}
	if last := words[len(words)-1]; last.is("{") {
		r.say(Warning, last.pos, "%s has no block: its { is ignored, and its } ends %s", k.text, blockName(t, opened))
		words = words[:len(words)-1]
	}
	a := args{r: r, row: w, keyword: k, words: words[1:], lost: "the line is ignored"}
	r.note(k.pos, w, blockName(t, opened), v)
	if w.status == refused || !w.kind.read(&a, w.field(v)) {
		return
	}
	name := k.text
	if w.status == alias {
		name = w.kind.target
	}
	place := k.pos
	if len(words) > 1 {
		place = words[1].pos
	}
	if old, twice := base.at[name]; twice && w.single() {
		r.say(Notice, old, "%s is written again at line %d, which counts", name, k.pos.Line)
	}
	base.mark(name, place)
	if a.more() {
		r.say(Warning, a.words[0].pos, "%s: too many words for %s; they are ignored", a.words[0].text, k.text)
	}
}

func blockName(t *table, opened token) string {
	if t.name == "file" {
		return "the file"
	}
	return opened.text
}

// remark tells what a keyword does not do here.
func (r *reader) remark(w *row, p Pos) {
	switch {
	case w.status == refused:
		r.say(Warning, p, "%s: %s; the line is ignored", w.keyword, w.note)
	case w.status == alias && w.note != "":
		r.say(Notice, p, "%s is an old spelling: write %s", w.keyword, w.kind.target)
	case w.status == accepted:
		r.say(Notice, p, "%s: has no meaning here: %s", w.keyword, w.note)
	case w.newer():
		r.say(Notice, p, "%s: %s%s", w.keyword, w.note, map[bool]string{true: "; read, but without effect in this version"}[w.status == later])
	case w.status == later && r.later == 0 && !r.remarked[w]:
		r.remarked[w] = true
		note := ""
		if w.note != "" {
			note = ": " + w.note
		}
		r.say(Notice, p, "%s: is read, but has no effect in this version%s", w.keyword, note)
	}
}

// onlyHere tells of what keepalived does not know, where it would see it.
func (r *reader) onlyHere(t token, what string) {
	if !r.hidden[Pos{t.pos.File, t.pos.Line, 0}] {
		r.say(Warning, t.pos, "%s is nothing that keepalived knows: put %s in front of the line, which it skips then", what, ours)
	}
}

// openBlock reads the block that a keyword opens.
func (r *reader) openBlock(w *row, v reflect.Value, base *Block, words []token, outer token) {
	k := words[0]
	words = words[1:]
	braced := len(words) > 0 && words[len(words)-1].is("{")
	if braced {
		words = words[:len(words)-1]
	}
	name := w.keyword
	if w.status == alias {
		name = w.kind.target
	}
	base.mark(name, k.pos)
	r.note(k.pos, w, outer.text, v)
	a := args{r: r, row: w, keyword: k, words: words, lost: "the block is skipped"}
	t := tables()[name]
	field := w.field(v)
	if w.status == later {
		r.later++
		defer func() { r.later-- }()
	}
	switch {
	case !field.IsValid():
		r.skip(k, braced)
	case w.self:
		r.block(t, v, k, braced)
	case field.Kind() == reflect.Struct:
		field.Addr().Interface().(based).base().Pos = k.pos
		r.block(t, field, k, braced)
	default:
		if list, ok := field.Addr().Interface().(lister); ok {
			r.values(w, list, k, braced)
			break
		}
		r.fresh(t, &a, field, braced)
	}
	if a.more() {
		r.say(Warning, a.words[0].pos, "%s: too many words for %s; they are ignored", a.words[0].text, k.text)
	}
}

// fresh reads a block into a new struct, which the field points to or lists.
func (r *reader) fresh(t *table, a *args, field reflect.Value, braced bool) {
	pointer := field.Type()
	if field.Kind() == reflect.Slice {
		pointer = pointer.Elem()
	}
	one := reflect.New(pointer.Elem())
	one.Elem().Set(r.blank(t, pointer.Elem()))
	one.Interface().(based).base().Pos = a.keyword.pos
	opened := a.keyword
	ok := true
	if h, is := one.Interface().(header); is {
		ok = h.head(a)
	} else if f := one.Elem().FieldByName("Name"); f.IsValid() {
		var name token
		name, ok = a.value()
		f.SetString(name.text)
	}
	if !ok {
		r.skip(opened, braced)
		return
	}
	if name := one.Elem().FieldByName("Name"); name.IsValid() {
		opened.text += " " + name.String()
	}
	if c, is := one.Interface().(*Check); is {
		c.Kind = a.keyword.text
	}
	if list, is := one.Interface().(lister); is {
		r.values(a.row, list, opened, braced)
	} else {
		r.block(t, one.Elem(), opened, braced)
	}
	if c, is := one.Interface().(closer); is && !c.close(r) {
		return
	}
	if field.Kind() == reflect.Slice {
		field.Set(reflect.Append(field, one))
	} else {
		field.Set(one)
	}
}

// blank returns a block with the defaults that are values.
func (r *reader) blank(t *table, of reflect.Type) reflect.Value {
	if v, ok := r.blanks[t.name]; ok {
		return v
	}
	v := reflect.New(of).Elem()
	r.defaults(t, v)
	r.blanks[t.name] = v
	return v
}

func (r *reader) defaults(t *table, v reflect.Value) {
	for _, w := range t.rows {
		text, ok := w.literal()
		if !ok || w.status == alias || w.index == nil && !w.self {
			continue
		}
		if w.kind.name == "flag" || w.kind.name == "block" || w.kind.name == "bool" && text != "on" {
			continue // off
		}
		var words []token
		for word := range strings.FieldsSeq(text) {
			words = append(words, token{text: word, bare: true})
		}
		quiet := &reader{src: r.src, options: r.options, cfg: r.cfg}
		a := args{r: quiet, row: w, keyword: token{text: w.keyword}, words: words}
		plain := w.kind
		plain.zero = ""
		if plain.name == "seconds" || plain.name == "int" {
			plain.lo = min(plain.lo, 0)
		}
		if !plain.read(&a, w.field(v)) {
			panic("keywords.tsv: " + t.name + " " + w.keyword + ": default " + text)
		}
	}
}

// values reads a block whose lines are values. Like keepalived it reads on to the next
// }, whether it was opened or not.
func (r *reader) values(w *row, list lister, opened token, braced bool) {
	empty := true
	for !r.stop {
		words, ok := r.src.statement()
		if !ok {
			r.say(Warning, opened.pos, "%s is not closed: a } is missing before the end of the file", opened.text)
			return
		}
		if words[0].is("}") {
			if empty {
				r.say(Notice, opened.pos, "%s is empty", opened.text)
			}
			return
		}
		empty = empty && words[0].is("{")
		if words[0].is("{") && !braced {
			braced = true
			continue
		}
		if !braced {
			braced = true
			r.say(Warning, opened.pos, "%s has no {: the lines below it are read all the same", opened.text)
		}
		if n := len(words); words[n-1].is("{") {
			r.say(Warning, words[n-1].pos, "{ inside %s is ignored: is a } missing above?", opened.text)
			if words = words[:n-1]; len(words) == 0 {
				continue
			}
		}
		r.note(words[0].pos, w, opened.text, reflect.Value{})
		list.line(r, words)
	}
}

// skip passes over a block that nothing reads, by counting its braces.
func (r *reader) skip(opened token, braced bool) {
	depth := 0
	if braced {
		depth = 1
	}
	for !r.stop {
		words, ok := r.src.statement()
		switch {
		case !ok:
			r.say(Warning, opened.pos, "%s is not closed: a } is missing before the end of the file", opened.text)
			return
		case words[0].is("}"):
			depth--
		case words[len(words)-1].is("{"):
			depth++
		}
		if depth <= 0 {
			return
		}
	}
}

// mostUnknown is where a file without one keyword that is known is none of keepalived's.
const mostUnknown = 200

// unknownKeyword tells about a keyword that the block does not have, with what was
// probably meant.
func (r *reader) unknownKeyword(t *table, words []token, opened token) {
	k := words[0]
	r.unknown++
	if r.known == 0 && r.unknown >= mostUnknown {
		r.say(Error, k.pos, "no keyword of the first %d is known: this is no keepalived.conf", mostUnknown)
		r.stop = true
		return
	}
	if len(r.messages) > mostMessages {
		return
	}
	name := blockName(t, opened)
	braces := ""
	if words[len(words)-1].is("{") {
		braces = "; keepalived does not skip its block: the } of it ends " + name
		if t.name == "file" {
			braces = ""
		}
	}
	top := tables()["file"].byName[k.text]
	switch others := blocksWith(k.text); {
	case top != nil && t.name != "file" && top.kind.name == "block":
		r.say(Warning, k.pos, "%s inside %s, which began at line %d: is a } missing above?%s", k.text, name, opened.pos.Line, braces)
		return
	case len(others) > 0:
		r.say(Warning, k.pos, "%q does not belong in %s but in %s%s", k.text, name, alternatives(others), braces)
		return
	}
	if near := nearest(k.text, t.names()); near != "" {
		braces = " (did you mean \"" + near + "\"?)" + braces
	} else if t.name == "file" {
		braces += "; the line is ignored"
	}
	r.say(Warning, k.pos, "unknown keyword %q in %s%s", k.text, name, braces)
}

// inherit gives what a block does not say the value of the block around it, and else
// the one that its own kind has.
func (r *reader) inherit(t *table, v, around reflect.Value, outer *table) {
	base := v.Addr().Interface().(based).base()
	above := around.Addr().Interface().(based).base()
	for _, w := range t.rows {
		if w.status == alias || w.fallback == "" || w.fallback[0] != '^' || w.index == nil || base.Has(w.keyword) {
			continue
		}
		if from := outer.byName[w.keyword]; from != nil && from.index != nil {
			_, literal := from.literal()
			if literal || above.Has(w.keyword) {
				w.field(v).Set(from.field(around))
				base.mark(w.keyword, above.at[w.keyword])
				continue
			}
		}
		if own := strings.TrimPrefix(strings.TrimPrefix(w.fallback, "^"), " "); own != "" {
			a := args{r: r, row: w, keyword: token{text: w.keyword}, words: []token{{text: own}}}
			w.kind.read(&a, w.field(v))
			base.mark(w.keyword, Pos{})
		}
	}
}

// inheritGlobal gives what a block does not say the value of global_defs.
func (r *reader) inheritGlobal(t *table, v reflect.Value) {
	base := v.Addr().Interface().(based).base()
	global := reflect.ValueOf(&r.cfg.Global).Elem()
	for _, w := range t.rows {
		if w.global != nil && !base.Has(w.keyword) {
			w.field(v).Set(global.FieldByIndex(w.global))
		}
	}
}
