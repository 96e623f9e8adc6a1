package checks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// SecurityOptions is what the configuration says about scripts.
type SecurityOptions struct {
	Enabled bool // enable_script_security
}

// Reason says what is wrong with a script; the zero value is nothing.
type Reason uint8

// What [Script.Check] finds, from harmless to hopeless.
const (
	Safe           Reason = iota
	Unsafe                // somebody other than root could change what root would run
	NotFound              // no such file, or no regular file
	NotAccessible         // its user cannot reach it
	NotExecutable         // its user may not execute it
	UnknownAccount        // no such user or group
)

func (r Reason) String() string {
	words := [...]string{"safe", "unsafe permissions", "not found", "not accessible", "not executable", "unknown account"}
	if int(r) < len(words) {
		return words[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Verdict is the outcome of a check. A script that may not run is to be left out:
// whoever tracks it ignores it.
type Verdict struct {
	Reason Reason
	Run    bool   // it may run: it is safe, or merely unsafe while script security is off
	Path   string // the file that would be executed, or the component that is to blame
	Detail string // what is wrong with Path, and with whom: "writable by others"
	Bare   bool   // it was written without a path and found in PATH: worth a warning
}

// String is the verdict in words: "unsafe permissions: /opt/x: writable by others".
func (v Verdict) String() string {
	s := v.Reason.String()
	if v.Path != "" {
		s += ": " + v.Path
	}
	if v.Detail != "" {
		s += ": " + v.Detail
	}
	return s
}

// Check judges a script before it is run, as keepalived does at load. Permissions
// matter where it would run with the rights of root (as user or group 0, or by a
// set-id bit): then every component of its path from / down, of the path as
// written and of every symbolic link on the way, must belong to root, and must not
// be writable by others or by another group; a directory may be if it is sticky.
func (s Script) Check(o SecurityOptions) Verdict {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return Verdict{Reason: NotFound, Detail: "empty command"}
	}
	id, err := lookup(s.User, s.Group)
	if err != nil {
		return Verdict{Reason: UnknownAccount, Detail: err.Error()}
	}
	if strings.HasPrefix(s.Args[0], "<") {
		return Verdict{Run: true, Path: shell} // only asks whether a file can be opened
	}
	bare := !strings.Contains(s.Args[0], "/")
	path, err := locate(s.Args[0])
	if err != nil {
		return Verdict{Reason: NotFound, Path: s.Args[0], Detail: "not in PATH", Bare: bare}
	}
	w := walk{id: id}
	v := w.judge(path)
	v.Bare = bare
	v.Run = v.Reason == Safe || v.Reason == Unsafe && !o.Enabled
	return v
}

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// walk follows a path as the kernel does and notes what it meets.
type walk struct {
	id     identity
	links  int
	unsafe Verdict // the first component that is not safe
}

func (w *walk) judge(path string) Verdict {
	file, info, bad := w.follow(path)
	if bad.Reason != Safe {
		return bad
	}
	mode, uid, gid := facts(info)
	switch {
	case !mode.IsRegular():
		return Verdict{Reason: NotFound, Path: file, Detail: "not a regular file"}
	case !w.may(info, 1):
		return Verdict{Reason: NotExecutable, Path: file, Detail: fmt.Sprintf("for uid:gid %d:%d", w.id.uid, w.id.gid)}
	}
	root := w.id.uid == 0 || w.id.in(0) ||
		mode&fs.ModeSetuid != 0 && uid == 0 || mode&fs.ModeSetgid != 0 && gid == 0
	if root && w.unsafe.Reason != Safe {
		return w.unsafe
	}
	return Verdict{Path: file}
}

// follow goes from / to the file behind path; the verdict is not Safe if it does
// not get there.
func (w *walk) follow(path string) (string, fs.FileInfo, Verdict) {
	at := "/"
	rest := strings.Split(path, "/")
	info, err := os.Lstat(at)
	for {
		if err != nil {
			return at, nil, lost(at, err)
		}
		w.note(at, info)
		rest = dropEmpty(rest)
		if len(rest) == 0 {
			return at, info, Verdict{}
		}
		if !info.IsDir() {
			return at, nil, Verdict{Reason: NotFound, Path: at, Detail: "not a directory"}
		}
		if !w.may(info, 1) {
			return at, nil, Verdict{Reason: NotAccessible, Path: at, Detail: fmt.Sprintf("for uid:gid %d:%d", w.id.uid, w.id.gid)}
		}
		next := filepath.Join(at, rest[0])
		if info, err = os.Lstat(next); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			w.note(next, info)
			at, rest, info, err = w.enter(at, next, rest[1:])
			continue
		}
		at, rest = next, rest[1:]
	}
}

// enter replaces a link by what it points to.
func (w *walk) enter(dir, link string, rest []string) (string, []string, fs.FileInfo, error) {
	target, err := os.Readlink(link)
	if w.links++; w.links > maxLinks {
		err = syscall.ELOOP
	}
	if err != nil {
		return link, nil, nil, err
	}
	if strings.HasPrefix(target, "/") {
		dir = "/"
	}
	info, err := os.Lstat(dir)
	return dir, append(strings.Split(target, "/"), rest...), info, err
}

func dropEmpty(parts []string) []string {
	for len(parts) > 0 && (parts[0] == "" || parts[0] == ".") {
		parts = parts[1:]
	}
	return parts
}

func lost(path string, err error) Verdict {
	if errors.Is(err, fs.ErrPermission) {
		return Verdict{Reason: NotAccessible, Path: path, Detail: "permission denied"}
	}
	return Verdict{Reason: NotFound, Path: path, Detail: bare(err).Error()}
}

// note keeps the first component that somebody other than root could change.
func (w *walk) note(path string, info fs.FileInfo) {
	if w.unsafe.Reason != Safe {
		return
	}
	mode, uid, gid := facts(info)
	detail := ""
	switch {
	case uid != 0:
		detail = fmt.Sprintf("owned by uid %d, not by root", uid)
	case mode&fs.ModeSymlink != 0, mode.IsDir() && mode&fs.ModeSticky != 0:
	case mode.Perm()&0o002 != 0:
		detail = "writable by others"
	case mode.Perm()&0o020 != 0 && gid != 0:
		detail = fmt.Sprintf("writable by group %d", gid)
	}
	if detail != "" {
		w.unsafe = Verdict{Reason: Unsafe, Path: path, Detail: detail}
	}
}

// may reports whether the script's user has a permission (1 for execute or search)
// by the mode bits. Root may search everything and execute what anybody may.
func (w *walk) may(info fs.FileInfo, bit fs.FileMode) bool {
	mode, uid, gid := facts(info)
	perm := mode.Perm()
	switch {
	case w.id.uid == 0:
		return mode.IsDir() || perm&(bit|bit<<3|bit<<6) != 0
	case w.id.uid == uid:
		return perm&(bit<<6) != 0
	case w.id.in(gid):
		return perm&(bit<<3) != 0
	}
	return perm&bit != 0
}

func facts(info fs.FileInfo) (mode fs.FileMode, uid, gid uint32) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		panic(fmt.Sprintf("checks: file information of type %T", info.Sys()))
	}
	return info.Mode(), st.Uid, st.Gid
}
