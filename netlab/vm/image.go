package vm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// statusMark stands between what the command prints and its exit status.
const statusMark = "\n\x00exit status "

// first is the machine's first process. The command's output goes to the second serial
// port, away from the kernel's messages.
const first = `#!/bin/busybox sh
/bin/busybox --install -s /busybox
export PATH=/usr/sbin:/usr/bin:/busybox HOME=/root RINGKEEP_VM=1
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts
ifconfig lo up
while read m; do insmod "$m" || echo "insmod $m failed"; done < /modules
stty -F /dev/ttyS1 raw -echo
dash /command </dev/null >/dev/ttyS1 2>&1
status=$?
if [ -f /folder ]; then
  until [ -c /dev/vport0p1 ]; do usleep 1000; done # made when the device has answered
  tar -c -C "$(cat /folder)" . >/dev/vport0p1
fi
printf '\n\000exit status %d\n' $status >/dev/ttyS1
poweroff -f
`

// writeImage writes an initial file system that runs a command.
func (m Machine) writeImage(to string, k kernel, argv []string) error {
	im := image{files: map[string]entry{}, links: map[string]string{}}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/busybox", "/etc", "/var/run"} {
		im.dir(dir)
	}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		im.dir("/usr/" + l)
		im.links["/"+l] = "usr/" + l
	}
	busybox, err := find("busybox")
	if err != nil {
		return err
	}
	if err := im.copy("/usr/bin/busybox", busybox); err != nil {
		return err
	}
	// Not busybox's shell: that one takes its own applets for other programs of their names.
	for _, p := range append([]string{"dash"}, m.Programs...) {
		if err := im.program(p); err != nil {
			return err
		}
	}
	modules := m.Modules
	if m.Folder != "" {
		modules = slices.Concat(modules, []string{"virtio_pci", "virtio_console"})
		im.dir(m.Folder)
		im.add("/folder", []byte(m.Folder), 0o644)
	}
	list, err := k.inOrder(modules)
	if err != nil {
		return err
	}
	var loading strings.Builder
	for _, path := range list {
		inside := "/modules.d/" + filepath.Base(path)
		if err := im.copy(inside, path); err != nil {
			return err
		}
		fmt.Fprintln(&loading, inside)
	}
	var command strings.Builder
	for _, a := range argv {
		command.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	im.links["/usr/bin/sh"] = "dash"
	im.add("/init", []byte(first), 0o755)
	im.add("/modules", []byte(loading.String()), 0o644)
	im.add("/command", []byte(command.String()+"\n"), 0o644)
	for path, data := range m.Files {
		im.add(path, data, 0o755)
	}
	return os.WriteFile(to, im.cpio(), 0o600)
}

// image is a file system to be.
type image struct {
	files map[string]entry
	links map[string]string // symbolic, by absolute path
}

type entry struct {
	data []byte
	mode uint32 // with the type
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// dir makes a directory and those above it.
func (im *image) dir(path string) {
	for ; path != "/" && path != "."; path = filepath.Dir(path) {
		im.files[path] = entry{mode: typeDir | 0o755}
	}
}

func (im *image) add(path string, data []byte, mode uint32) {
	if top, rest, ok := strings.Cut(path[1:], "/"); ok && im.links["/"+top] != "" {
		path = "/" + im.links["/"+top] + "/" + rest // what is under a link comes to its target
	}
	im.dir(filepath.Dir(path))
	im.files[path] = entry{data, typeFile | mode}
}

func (im *image) copy(inside, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	im.add(inside, data, 0o755)
	return nil
}

// find is exec.LookPath that also looks where administrators' programs are.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, program))
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s is not installed", program)
	}
	return filepath.Abs(path)
}

// program adds a program and the libraries that it is linked with.
func (im *image) program(name string) error {
	path, err := find(name)
	if err != nil {
		return err
	}
	return im.linked(path, path)
}

// libraryDirs are where Debian's libraries for this processor are.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"}

func (im *image) linked(inside, path string) error {
	if _, ok := im.files[inside]; ok {
		return nil
	}
	if err := im.copy(inside, path); err != nil {
		return err
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil // a script: its interpreter is busybox, or in the list
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b := make([]byte, p.Filesz)
			if _, err := p.ReadAt(b, 0); err != nil {
				return err
			}
			loader := string(bytes.TrimRight(b, "\x00"))
			if err := im.copy(loader, loader); err != nil {
				return err
			}
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil // static
	}
	extra, _ := f.DynString(elf.DT_RUNPATH)
	for _, name := range names {
		if err := im.library(name, path, slices.Concat(extra, libraryDirs)); err != nil {
			return err
		}
	}
	return nil
}

func (im *image) library(name, of string, dirs []string) error {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return im.linked(path, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("library %s of %s: not found", name, of)
}

// cpio writes the file system in the format that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst), parents first.
func (im *image) cpio() []byte {
	var b bytes.Buffer
	number := 0
	put := func(name string, e entry) {
		number++
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			number, e.mode, 0, 0, 1, 0, len(e.data), 0, 0, 0, 0, len(name)+1, 0, name)
		pad(&b)
		b.Write(e.data)
		pad(&b)
	}
	for path, target := range im.links {
		im.files[path] = entry{[]byte(target), typeLink | 0o777}
	}
	for _, path := range slices.Sorted(maps.Keys(im.files)) {
		put(path[1:], im.files[path])
	}
	put("TRAILER!!!", entry{})
	return b.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
