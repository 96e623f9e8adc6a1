package config

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DNSType is the record type that DNS_CHECK asks for.
type DNSType string

func (d *DNSType) read(a *args) bool {
	t, ok := a.oneOf([]string{"A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY"}, true)
	*d = DNSType(t)
	return ok
}

func (d *DNSType) words() []string {
	if *d == "" {
		return nil
	}
	return []string{string(*d)}
}

// DNSName is the name that DNS_CHECK asks for, "." for the root.
type DNSName string

func (d *DNSName) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	name := strings.TrimSuffix(t.text, ".")
	if t.text != "." && (slices.Contains(strings.Split(name, "."), "") || len(name) > 253) {
		return a.wrong(t.pos, "name %q: has an empty label or more than 253 characters", t.text)
	}
	*d = DNSName(t.text)
	return true
}

func (d *DNSName) words() []string {
	if *d == "" {
		return nil
	}
	return []string{string(*d)}
}

// Hex is a run of bytes.
type Hex []byte

func (h *Hex) read(a *args) bool {
	b, mask, ok := a.hex(false)
	_ = mask
	*h = b
	return ok
}

func (h *Hex) words() []string {
	if len(*h) == 0 {
		return nil
	}
	return []string{hex.EncodeToString(*h)}
}

// hex takes all words, each of pairs of digits; a digit alone is a byte. Where wild,
// x stands for any digit and the mask has zeros there.
func (a *args) hex(wild bool) (b, mask []byte, ok bool) {
	if !a.more() {
		return nil, nil, a.wrong(a.keyword.pos, "%s: needs hexadecimal digits", a.keyword.text)
	}
	for a.more() {
		t := a.next()
		for s := t.text; s != ""; {
			n := min(2, len(s))
			v, m := byte(0), byte(0)
			for _, c := range s[:n] {
				v, m = v<<4, m<<4
				d, err := strconv.ParseUint(string(c), 16, 8)
				switch {
				case err == nil:
					v, m = v|byte(d), m|0xf
				case !wild || c|0x20 != 'x':
					return nil, nil, a.wrong(t.pos, "%s %s: must be hexadecimal digits", a.keyword.text, t.text)
				}
			}
			if n == 1 {
				m |= 0xf0
			}
			b, mask, s = append(b, v), append(mask, m), s[n:]
		}
	}
	return b, mask, true
}

// ReplyPattern is what an answer must begin with: the bits under the mask.
type ReplyPattern struct {
	On          bool
	Bytes, Mask Hex
}

func (p *ReplyPattern) read(a *args) bool {
	p.On = true
	if !a.more() {
		return true
	}
	var ok bool
	p.Bytes, p.Mask, ok = a.hex(true)
	return ok
}

func (p *ReplyPattern) words() []string {
	if !p.On {
		return nil
	}
	var b strings.Builder
	for i := range p.Bytes {
		for _, shift := range []int{4, 0} {
			if p.Mask[i]>>shift&0xf == 0 {
				b.WriteByte('x')
			} else {
				fmt.Fprintf(&b, "%x", p.Bytes[i]>>shift&0xf)
			}
		}
	}
	if b.Len() == 0 {
		return []string{}
	}
	return []string{b.String()}
}

// Digests are MD5 sums, one of which the body must have.
type Digests []string

func (d *Digests) read(a *args) bool {
	t, ok := a.value()
	if !ok {
		return false
	}
	if _, err := hex.DecodeString(t.text); err != nil || len(t.text) != 32 {
		return a.wrong(t.pos, "digest %s: must be the 32 hexadecimal digits of an MD5 sum", t.text)
	}
	if slices.Contains(*d, strings.ToLower(t.text)) {
		return a.wrong(t.pos, "digest %s: stands here already", t.text)
	}
	*d = append(*d, strings.ToLower(t.text))
	return true
}

func (d *Digests) words() []string { return nil } // written one a line, by print

// StatusCodes are ranges of accepted status codes, both ends included; none are 200 to 299.
type StatusCodes [][2]int

func (s *StatusCodes) read(a *args) bool {
	for a.more() {
		t := a.next()
		lo, hi, ranged := strings.Cut(t.text, "-")
		from, err := strconv.Atoi(lo)
		to, err2 := from, error(nil)
		if ranged {
			to, err2 = strconv.Atoi(hi)
		}
		if err != nil || err2 != nil || from < 100 || to > 999 || from > to {
			return a.wrong(t.pos, "status_code %s: must be a code from 100 to 999, or a range", t.text)
		}
		*s = append(*s, [2]int{from, to})
	}
	return true
}

func (s *StatusCodes) words() []string {
	var words []string
	for _, c := range *s {
		if c[0] == c[1] {
			words = append(words, strconv.Itoa(c[0]))
		} else {
			words = append(words, fmt.Sprintf("%d-%d", c[0], c[1]))
		}
	}
	return words
}
