package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// Options is what changes the meaning of a file from outside.
type Options struct {
	ConfigID     string // of lines that start with @ID; the host name up to its first dot if empty
	IncludeCheck IncludeCheck
	Host         Host // nil: nothing is compared with a machine
	Explain      int  // a line to be explained, 0 for none
	IPVS         bool // the kernel's serves the services that do not say where they are served
	// Regex says what is wrong with a regex and the words of its regex_options; nil: nobody
	// asks.
	Regex func(pattern string, words []string) error

	glob  func(pattern string) ([]string, error) // nil: [filepath.Glob]
	lines int                                    // 0: mostLines
}

// Host is what a file is compared with, because only the machine can tell.
type Host interface {
	// Interface tells whether an interface exists.
	Interface(name string) bool
	// Script returns why a command cannot be run as it should, or nil. The error is
	// an [Unsafe] where others than root can change it.
	Script(path string, user, group string, secure bool) error
}

// Unsafe says who but root can change a script that root runs.
type Unsafe struct{ Reason string }

func (u Unsafe) Error() string { return u.Reason }

// Load reads a file. The error is one line that names a file that cannot be read;
// what is wrong inside comes as messages, sorted by position.
func Load(path string, o Options) (*Config, []Message, error) {
	text, err := Read(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, messages := Parse(path, text, o)
	return cfg, messages, nil
}

// Read returns the text of a configuration file. The error is one line that names it.
func Read(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: no such file: name a keepalived.conf", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: needs read permission", path)
	case err != nil:
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return nil, fmt.Errorf("%s: is a directory: name a file in it", path)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	case bytes.IndexByte(text, 0) >= 0:
		return nil, fmt.Errorf("%s: is a binary file: name a keepalived.conf", path)
	}
	return text, nil
}

// Parse reads the text of a file. The result is usable where no message is an Error.
func Parse(name string, text []byte, o Options) (*Config, []Message) {
	r := read(name, text, o)
	return r.cfg, r.sorted()
}

func read(name string, text []byte, o Options) *reader {
	if o.ConfigID == "" {
		host, _ := os.Hostname()
		o.ConfigID, _, _ = strings.Cut(host, ".")
	}
	if o.glob == nil {
		o.glob = filepath.Glob
	}
	if o.lines == 0 {
		o.lines = mostLines
	}
	r := &reader{cfg: &Config{ipvs: o.IPVS}, options: o, remarked: map[*row]bool{}, told: map[Pos]bool{}, hidden: map[Pos]bool{}, blanks: map[string]reflect.Value{}}
	r.src = &source{r: r, defined: map[string]definition{}, texts: map[string]string{}, check: o.IncludeCheck}
	r.src.open(name, filepath.Dir(name), string(text))
	file := tables()["file"]
	v := reflect.ValueOf(r.cfg).Elem()
	r.cfg.Pos = Pos{name, 1, 1}
	r.cfg.Global.Pos = r.cfg.Pos
	r.defaults(file, v)
	r.defaults(tables()["global_defs"], v.FieldByName("Global"))
	r.block(file, v, token{text: name, pos: r.cfg.Pos}, true)
	r.resolve()
	r.cfg.texts = r.src.texts
	return r
}
