package config

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// kind is how the value of a keyword is written: a name, a range, and what is peculiar.
type kind struct {
	name      string
	lo, hi    float64
	choices   []string
	optional  bool   // the bare keyword is fine
	clamp     bool   // what is out of range becomes the nearest bound
	multicast bool   // of addresses
	zero      string // what 0 becomes, where 0 is out of range for keepalived
	target    string // of an alias
}

// parseKind reads a kind as keywords.tsv has it: "int 1..255", "seconds 0..4294 0=1",
// "choice a|b", "text?".
func parseKind(text string) kind {
	words := strings.Fields(text)
	k := kind{lo: math.Inf(-1), hi: math.Inf(1)}
	k.name, k.optional = strings.CutSuffix(words[0], "?")
	for _, w := range words[1:] {
		if lo, hi, ok := strings.Cut(w, ".."); ok {
			k.lo, _ = strconv.ParseFloat(lo, 64)
			k.hi, _ = strconv.ParseFloat(hi, 64)
			continue
		}
		switch {
		case k.name == "choice" || k.name == "switch":
			k.choices = strings.Split(w, "|")
		case k.name == "alias":
			k.target = w
		case w == "clamp":
			k.clamp = true
		case w == "multicast":
			k.multicast = true
		default:
			k.zero = strings.TrimPrefix(w, "0=")
		}
	}
	return k
}

// text writes the range for people, "" if the kind has none.
func (k kind) text() string {
	switch {
	case len(k.choices) > 0:
		return strings.Join(k.choices, ", ")
	case math.IsInf(k.lo, -1):
		return ""
	}
	return strconv.FormatFloat(k.lo, 'f', -1, 64) + " to " + strconv.FormatFloat(k.hi, 'f', -1, 64)
}

// valuer is a value that reads and writes itself.
type valuer interface {
	read(a *args) bool
	words() []string // nil: nothing to write
}

// read reads the value of a keyword into v, which may be invalid: then it is only
// checked. It returns false where the line is of no use.
func (k kind) read(a *args, v reflect.Value) bool {
	if k.optional && !a.more() {
		if k.name == "command" && v.IsValid() {
			v.Set(reflect.ValueOf(&Command{Pos: a.keyword.pos}))
		}
		return true
	}
	if !v.IsValid() {
		t := scratch[k.name]
		if t == nil {
			return true
		}
		v = reflect.New(t).Elem()
	}
	switch k.name {
	case "flag", "unflag":
		return k.flag(a, v)
	case "bool":
		return k.boolean(a, v)
	case "int":
		return k.integer(a, v)
	case "ints":
		return k.integers(a, v)
	case "seconds":
		return k.duration(a, v, time.Second)
	case "ms":
		return k.duration(a, v, time.Millisecond)
	case "text":
		t, ok := a.value()
		if ok {
			v.SetString(t.text)
		}
		return ok
	case "texts":
		return k.texts(a, v)
	case "choice":
		return k.choice(a, v)
	case "addr", "addr4", "addr6":
		return k.address(a, v)
	case "switch":
		return k.toggle(a, v)
	case "weight":
		return k.weight(a, v)
	case "command":
		c, ok := a.command()
		if ok {
			v.Set(reflect.ValueOf(c))
		}
		return ok
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		ok := fresh.Interface().(valuer).read(a)
		if ok {
			v.Set(fresh)
		}
		return ok
	}
	fresh := reflect.New(v.Type()) // what is wrong leaves the old value alone
	fresh.Elem().Set(v)
	ok := fresh.Interface().(valuer).read(a)
	if ok {
		v.Set(fresh.Elem())
	}
	return ok
}

// scratch is what a value without a field is read into, to be checked.
var scratch = map[string]reflect.Type{
	"flag": reflect.TypeFor[bool](), "bool": reflect.TypeFor[bool](), "int": reflect.TypeFor[int](), "ints": reflect.TypeFor[[]string](),
	"seconds": reflect.TypeFor[time.Duration](), "ms": reflect.TypeFor[time.Duration](), "text": reflect.TypeFor[string](),
	"texts": reflect.TypeFor[[]string](), "choice": reflect.TypeFor[string](), "addr": reflect.TypeFor[netip.Addr](),
}

func (k kind) flag(a *args, v reflect.Value) bool {
	switch t := strings.ToLower(a.peek()); t {
	case "":
	case "on", "true", "yes":
		a.next()
	case "off", "false", "no":
		w := a.next()
		a.r.say(Warning, w.pos, "%s takes no value: %s does not switch it off", a.keyword.text, w.text)
	}
	v.SetBool(k.name == "flag")
	return true
}

// boolean reads an optional on or off; the keyword alone means on.
func (k kind) boolean(a *args, v reflect.Value) bool {
	on := true
	switch t := a.next(); strings.ToLower(t.text) {
	case "", "on", "true", "yes":
	case "off", "false", "no":
		on = false
	default:
		return a.wrong(t.pos, "%s %s: must be on or off", a.keyword.text, t.text)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.ValueOf(&on))
	} else {
		v.SetBool(on)
	}
	return true
}

func (k kind) integer(a *args, v reflect.Value) bool {
	p := a.keyword.pos
	if a.more() {
		p = a.words[0].pos
	}
	lo, hi := k.lo, k.hi
	if k.clamp {
		lo, hi = math.MinInt32, math.MaxUint32
	}
	n, ok := a.number(lo, hi)
	if !ok {
		return false
	}
	switch m := max(int(k.lo), min(int(k.hi), n)); {
	case n == 0 && k.zero != "":
		n, _ = strconv.Atoi(k.zero)
		a.r.say(Warning, p, "%s 0: becomes %d", a.keyword.text, n)
	case m != n:
		a.r.say(Warning, p, "%s %d: must be %s; it becomes %d", a.keyword.text, n, k.text(), m)
		n = m
	}
	if v.CanUint() {
		v.SetUint(uint64(n))
	} else {
		v.SetInt(int64(n))
	}
	return true
}

func (k kind) integers(a *args, v reflect.Value) bool {
	for ok := true; ok; ok = a.more() {
		n, ok := a.number(k.lo, k.hi)
		if !ok {
			return false
		}
		v.Set(reflect.Append(v, reflect.ValueOf(strconv.Itoa(n))))
	}
	return true
}

// duration reads a time with decimals.
func (k kind) duration(a *args, v reflect.Value, unit time.Duration) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(strings.TrimLeft(t.text, " \t"), 64)
	if err == nil && f == 0 && k.zero != "" {
		f, _ = strconv.ParseFloat(k.zero, 64)
		a.r.say(Warning, t.pos, "%s 0: keepalived complains; it becomes %s", a.keyword.text, k.zero)
		if f == 0 {
			v.SetInt(0)
			return true
		}
	}
	if err != nil || strings.ContainsAny(t.text, "eEnNxXpP_") || f < k.lo || f > k.hi {
		name := "seconds"
		if unit == time.Millisecond {
			name = "milliseconds"
		}
		return a.wrong(t.pos, "%s %s: must be %s %s", a.keyword.text, t.text, k.text(), name)
	}
	v.SetInt(int64(math.Round(f*float64(unit/time.Microsecond))) * int64(time.Microsecond))
	return true
}

func (k kind) texts(a *args, v reflect.Value) bool {
	if !a.more() && !k.optional {
		_, ok := a.value()
		return ok
	}
	for a.more() {
		v.Set(reflect.Append(v, reflect.ValueOf(a.next().text)))
	}
	return true
}

func (k kind) choice(a *args, v reflect.Value) bool {
	t, ok := a.oneOf(k.choices, false)
	if ok {
		v.SetString(t)
	}
	return ok
}

// toggle reads an optional value into a [Switch].
func (k kind) toggle(a *args, v reflect.Value) bool {
	on := Switch{On: true}
	if a.more() && len(k.choices) > 0 {
		var ok bool
		if on.Value, ok = a.oneOf(k.choices, false); !ok {
			return false
		}
	} else {
		on.Value = a.next().text
	}
	v.Set(reflect.ValueOf(on))
	return true
}

func (k kind) address(a *args, v reflect.Value) bool {
	p := a.keyword.pos
	if a.more() {
		p = a.words[0].pos
	}
	addr, ok := a.addr()
	switch {
	case !ok:
		return false
	case k.name == "addr4" && !addr.Is4(), k.name == "addr6" && addr.Is4():
		return a.wrong(p, "%s %v: must be an IPv%s address", a.keyword.text, addr, k.name[4:])
	case k.multicast && !addr.IsMulticast():
		return a.wrong(p, "%s %v: must be a multicast address", a.keyword.text, addr)
	}
	v.Set(reflect.ValueOf(addr))
	return true
}

// weight reads a number and reverse into the fields of those names.
func (k kind) weight(a *args, v reflect.Value) bool {
	n, ok := a.number(k.lo, k.hi)
	if !ok {
		return false
	}
	reverse := false
	switch a.peek() {
	case "reverse", "noreverse":
		reverse = a.next().text == "reverse"
	}
	v.FieldByName("Weight").SetInt(int64(n))
	v.FieldByName("Reverse").SetBool(reverse)
	return true
}

// words writes a value as the keyword takes it; ok is false where there is nothing to
// write. No words with ok mean the bare keyword.
func (k kind) words(v reflect.Value) (words []string, ok bool) {
	switch k.name {
	case "flag":
		return nil, v.Bool()
	case "unflag": // says what its opposite does not
		return nil, false
	case "bool":
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return nil, false
			}
			v = v.Elem()
		}
		return []string{map[bool]string{true: "on", false: "off"}[v.Bool()]}, true
	case "int":
		return []string{fmt.Sprint(v.Interface())}, true
	case "seconds", "ms":
		unit := float64(time.Second)
		if k.name == "ms" {
			unit = float64(time.Millisecond)
		}
		return []string{strconv.FormatFloat(float64(v.Int())/unit, 'f', -1, 64)}, true
	case "text", "choice":
		return []string{v.String()}, v.String() != ""
	case "texts", "ints":
		list := v.Interface().([]string)
		return list, len(list) > 0
	case "addr", "addr4", "addr6":
		addr := v.Interface().(netip.Addr)
		return []string{addr.String()}, addr.IsValid()
	case "switch":
		s := v.Interface().(Switch)
		if s.Value != "" {
			words = []string{s.Value}
		}
		return words, s.On
	case "weight":
		words = []string{strconv.Itoa(int(v.FieldByName("Weight").Int()))}
		if v.FieldByName("Reverse").Bool() {
			words = append(words, "reverse")
		}
		return words, true
	case "command":
		c := v.Interface().(*Command)
		if c == nil {
			return nil, false
		}
		return c.words(), true
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, false
		}
		words = v.Interface().(valuer).words()
	} else {
		words = v.Addr().Interface().(valuer).words()
	}
	return words, words != nil
}
