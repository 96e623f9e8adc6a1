package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
	"golang.org/x/sys/unix"
)

// terminal is w if it is one that escape codes mean something to.
func terminal(w io.Writer) (*os.File, bool) {
	f, ok := w.(*os.File)
	return f, ok && term.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}

// commands tells whether the terminal's keys are ours: a program in the background that
// asks for them is stopped.
func commands(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp() && term.IsTerminal(os.Stdin.Fd())
}

// fallbackColumns are those of a terminal that does not tell.
const fallbackColumns = 80

func columns(f *os.File) int {
	if width, _, err := term.GetSize(f.Fd()); err == nil && width > 0 {
		return width
	}
	return fallbackColumns
}

const progressEvery = 250 * time.Millisecond

// progress keeps one line up to date on a terminal until done is called, which takes it
// away. It writes nothing to anything else.
func progress(w io.Writer, line func() string) (done func()) {
	f, ok := terminal(w)
	if !ok {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		t := time.NewTicker(progressEvery)
		defer t.Stop()
		for {
			select {
			case <-quit:
				fmt.Fprint(f, "\r"+ansi.EraseLineRight)
				return
			case <-t.C:
				fmt.Fprint(f, "\r"+ansi.Truncate(line(), columns(f)-1, "…")+ansi.EraseLineRight)
			}
		}
	}()
	return func() {
		close(quit)
		<-gone
	}
}
