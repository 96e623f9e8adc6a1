package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func TestGoldenReports(t *testing.T) {
	for name, render := range map[string]func(io.Writer) error{
		"sample.svg":     sample().SVG,
		"sample.txt":     func(w io.Writer) error { return sample().Text(w, 110) },
		"narrow.txt":     func(w io.Writer) error { return sample().Text(w, 72) },
		"so-far.txt":     func(w io.Writer) error { return lines(w, sample().SoFar(100, 30)) },
		"so-far-low.txt": func(w io.Writer) error { return lines(w, sample().SoFar(72, 12)) },
		"empty-run.txt":  func(w io.Writer) error { return (&Run{}).Text(w, 72) },
	} {
		t.Run(name, func(t *testing.T) {
			got, golden := rendered(t, render), filepath.Join("testdata", name)
			if *rewrite {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("differs from %s; got:\n%s", golden, got)
			}
		})
	}
}

func rendered(t interface{ Fatal(...any) }, render func(io.Writer) error) []byte {
	var b bytes.Buffer
	if err := render(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The page is XML as well, which is stricter about what is open and closed.
func TestPageIsWellFormed(t *testing.T) {
	for name, r := range map[string]*Run{"sample": sample(), "empty": {}, "long": long(3000)} {
		for _, render := range []func(io.Writer) error{r.HTML, r.SVG} {
			if err := wellFormed(rendered(t, render)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func wellFormed(b []byte) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func TestPageLoadsNothing(t *testing.T) {
	page := string(rendered(t, sample().HTML))
	for _, rule := range []string{`(?i)https?:`, `(?i)\bsrc\s*=`, `href="[^#]`, `url\([^#]`, `@import`, `\sstyle=`, `\son\w+=`, `//[a-z]`} {
		if at := regexp.MustCompile(rule).FindStringIndex(page); at != nil {
			t.Errorf("%s: %s", rule, page[max(at[0]-60, 0):min(at[1]+60, len(page))])
		}
	}
}

const hostile = "</script></style></title><b>\"'&<!--\x1b[31m\x00\u202e"

// Every text of a run is hostile, those that are added later too.
func TestHostileTextIsEscaped(t *testing.T) {
	r := sample()
	r.Capture = "lab.pcapng"
	poison(reflect.ValueOf(r).Elem())
	for _, render := range []func(io.Writer) error{r.HTML, r.SVG} {
		got := rendered(t, render)
		if err := wellFormed(got); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(got, []byte("&lt;/script&gt;")) {
			t.Error("the text is not there at all")
		}
		for _, bad := range []string{"<b>\"", "<!--", "\x1b", "\x00", "\u202e"} {
			if bytes.Contains(got, []byte(bad)) {
				t.Errorf("contains %q", bad)
			}
		}
	}
	text := string(rendered(t, func(w io.Writer) error { return r.Text(w, 100) }))
	if strings.ContainsAny(text, "\x1b\x00\u202e") {
		t.Error("the text holds control characters")
	}
}

// poison appends hostile text to every string in v. What the renderers compare stays.
func poison(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); s != "MASTER" && s != "BACKUP" && s != "vrrp" {
			v.SetString(s + hostile)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				poison(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i))
		}
	}
}

// A quiet stretch is a line; what differs in it is not folded away.
func TestQuietStretchesAreFolded(t *testing.T) {
	r := long(200)
	r.Packets[100].To[0].Lost = "loss 1%"
	page := string(rendered(t, r.HTML))
	for _, want := range []string{"… 97 advertisements of lb1, every 1s<", "lost: loss 1%"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if n := strings.Count(page, `class="row k-vrrp`); n > 10 {
		t.Errorf("%d packets are shown", n)
	}
}

func TestFoldTellsOfLosses(t *testing.T) {
	r := long(50)
	for i := range r.Packets {
		r.Packets[i].To = []Delivery{{Host: "lb2", Lost: "partition"}, {Host: "client", Lost: "partition"}}
	}
	if page := string(rendered(t, r.HTML)); !strings.Contains(page, "… 47 advertisements of lb1, every 1s, lost to lb2, client (partition)") {
		t.Error("the fold does not tell what became of its packets")
	}
}

// The silence is told where it was, between the crash and the takeover.
func TestSilenceIsToldInItsPlace(t *testing.T) {
	var kinds []string
	v := newView(sample())
	for _, r := range v.fold(v.rungs()) {
		if r.at >= 9465*ms && r.at < 13075*ms {
			kinds = append(kinds, r.kind)
		}
	}
	if got := strings.Join(kinds, " "); got != "packet step fault state step silence state packet" {
		t.Errorf("rows are %s", got)
	}
}

// Packets that a breach names are shown and can be jumped to, in the middle of a quiet stretch too.
func TestNamedPacketsAreShown(t *testing.T) {
	r := long(200)
	r.Breaches = []Breach{{150 * time.Second, "interval", "too late", []int{r.Packets[90].Number}}}
	page := string(rendered(t, r.HTML))
	for _, want := range []string{`href="#p91"`, `id="p91"`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestTimerTeethEndWhereTheyWereCut(t *testing.T) {
	v := newView(sample())
	lb2 := v.instances[1]
	teeth := lb2.teeth(v.Elapsed)
	ran := 0
	for i, x := range teeth {
		if i > 0 && x.from < teeth[i-1].to {
			t.Errorf("tooth at %v begins before the one before ends at %v", x.from, teeth[i-1].to)
		}
		if x.ranOut() {
			ran++
		}
	}
	if ran != 2 {
		t.Errorf("the timer of lb2 ran out %d times, not twice: in the crash and in the partition", ran)
	}
}

// long is a run of n advertisements of one MASTER.
func long(n int) *Run {
	r := &Run{Elapsed: time.Duration(n) * time.Second, Hosts: []Host{{"lb1", "ringkeep"}, {"lb2", "ringkeep"}, {"client", "host"}}}
	t := tale{r}
	t.state(0, "lb1", "MASTER", 150, "startup")
	t.state(0, "lb2", "BACKUP", 100, "startup")
	t.adverts(0, r.Elapsed, "lb1", "accepted", nil)
	for i := range r.Packets {
		r.Packets[i].Number = i + 1
	}
	return r
}
