package checks

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// numberBytes is how much of a file is read for its number, as keepalived does.
const numberBytes = 127

// ReadNumber reads the number that a file begins with, as C writes integers: decimal, 0x
// hexadecimal or 0 octal. A file that is missing, empty or begins with something else says
// 0; a number beyond 32 bits is an error.
func ReadNumber(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	head := make([]byte, numberBytes)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, nil
	}
	return parseNumber(string(head[:n]))
}

// parseNumber is strtol with base 0, within 32 bits.
func parseNumber(s string) (int, error) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	base, digits := 10, "0123456789"
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X") && strings.ContainsRune("0123456789abcdefABCDEF", rune(s[2])):
		base, digits, s = 16, "0123456789abcdefABCDEF", s[2:]
	case strings.HasPrefix(s, "0"):
		base, digits = 8, "01234567"
	}
	end := len(s) - len(strings.TrimLeft(s, digits))
	if end == 0 {
		return 0, nil
	}
	n, err := strconv.ParseInt(sign+s[:end], base, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, fmt.Errorf("%s%s: beyond 32 bits", sign, s[:end])
	}
	return int(n), nil
}

// WriteNumber gives a file its first number: where there is none yet, or always.
func WriteNumber(path string, value int, overwrite bool) error {
	if _, err := os.Stat(path); err == nil && !overwrite {
		return nil
	}
	return os.WriteFile(path, fmt.Appendln(nil, value), 0o644)
}

// blind are file systems whose changes nobody is told of (statfs(2)).
var blind = map[int64]string{
	unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.CGROUP_SUPER_MAGIC: "cgroup", unix.CGROUP2_SUPER_MAGIC: "cgroup2",
	unix.NFS_SUPER_MAGIC: "nfs", unix.SMB_SUPER_MAGIC: "smb", unix.SMB2_SUPER_MAGIC: "smb2", unix.CIFS_SUPER_MAGIC: "cifs",
	unix.FUSE_SUPER_MAGIC: "fuse", unix.BPF_FS_MAGIC: "bpf", unix.DEBUGFS_MAGIC: "debugfs", unix.TRACEFS_MAGIC: "tracefs", unix.SECURITYFS_MAGIC: "securityfs",
}

// fileChange are the changes of a directory after which a file in it may say another
// number: one written and closed, renamed into or out of it, deleted; or it is gone itself.
const fileChange = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// rewatch is how often a directory that is not there is looked for.
const rewatch = time.Second

// File watches the directory of a file.
type File struct {
	path    string
	inotify *os.File
	fd      int
	wd      int // of the directory, -1 while it is not watched
}

// WatchFile begins to watch the directory of a file: what happens from now on is not lost.
// It is an error if the kernel does not tell changes there.
func WatchFile(path string) (*File, error) {
	var fs unix.Statfs_t
	if unix.Statfs(filepath.Dir(path), &fs) == nil && blind[int64(fs.Type)] != "" {
		return nil, fmt.Errorf("watch %s: on the file system %s changes are not told", path, blind[int64(fs.Type)])
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	f := &File{path: path, inotify: os.NewFile(uintptr(fd), "inotify"), fd: fd, wd: -1}
	f.watch()
	return f, nil
}

// watch watches the directory if it is there and was not, and reports that.
func (f *File) watch() (fresh bool) {
	if f.wd >= 0 {
		return false
	}
	wd, err := unix.InotifyAddWatch(f.fd, filepath.Dir(f.path), fileChange)
	if err != nil {
		return false
	}
	f.wd = wd
	return true
}

// Run calls changed whenever the file may say something else, until ctx ends. Changes of
// other files in its directory count only where it is reached by a link: who reads it at
// the wrong moment finds it half written. Run closes the watch.
func (f *File) Run(ctx context.Context, changed func()) {
	defer f.inotify.Close()
	stop := context.AfterFunc(ctx, func() { f.inotify.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for ctx.Err() == nil {
		f.inotify.SetReadDeadline(time.Now().Add(rewatch))
		n, err := f.inotify.Read(buf)
		told := f.read(buf[:max(n, 0)])
		if fresh := f.watch(); told || fresh {
			changed()
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// read tells whether events are about the file, and notices that the watch has ended.
func (f *File) read(events []byte) (told bool) {
	linked := false
	if info, err := os.Lstat(f.path); err == nil {
		linked = info.Mode()&os.ModeSymlink != 0
	}
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(events)))
		mask, size := binary.NativeEndian.Uint32(events[4:]), binary.NativeEndian.Uint32(events[12:])
		if wd == f.wd && mask&(unix.IN_IGNORED|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) != 0 {
			f.wd = -1
		}
		end := min(len(events), unix.SizeofInotifyEvent+int(size))
		name := string(bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00"))
		told = told || linked || name == "" || name == filepath.Base(f.path)
		events = events[end:]
	}
	return told
}
