package checks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// FIFO is a named pipe that event lines are written to, for programs that want them in
// order. Writing never waits: a line that the pipe has no room for is lost and counted.
type FIFO struct {
	path string
	fd   int
	made bool // by us: it goes away with us
	lost int
}

// OpenFIFO makes the pipe, or takes the one that is there. It is open for reading too, so
// that lines wait in it until a reader comes. A new one belongs to the user and the group,
// "" for who we are; a file that is no pipe is refused, and stays.
func OpenFIFO(path, user, group string) (*FIFO, error) {
	id, err := lookup(user, group)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &FIFO{path: path}
	switch err := unix.Mkfifo(path, 0o600); {
	case err == nil:
		f.made = true
		if err := os.Lchown(path, int(id.uid), int(id.gid)); err != nil {
			os.Remove(path)
			return nil, err
		}
	case !errors.Is(err, unix.EEXIST):
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		return nil, fmt.Errorf("%s: is no named pipe: remove it or name another", path)
	}
	if f.fd, err = unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Path is where it is.
func (f *FIFO) Path() string { return f.path }

// WriteLine writes one line, or counts it as lost.
func (f *FIFO) WriteLine(line string) {
	if _, err := unix.Write(f.fd, []byte(line+"\n")); err != nil { // whole or not at all: lines are shorter than PIPE_BUF
		f.lost++
	}
}

// Close closes the pipe, so that its readers see the end, and removes it if we made it. It
// returns how many lines were lost.
func (f *FIFO) Close() (lost int) {
	unix.Close(f.fd)
	if f.made {
		os.Remove(f.path)
	}
	return f.lost
}
