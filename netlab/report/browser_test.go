package report

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A real browser finds nothing to complain about, the policy of the page included, and
// follows the reader's choice of light or dark.
func TestBrowserShowsThePage(t *testing.T) {
	page := filepath.Join(t.TempDir(), "run.html")
	if err := os.WriteFile(page, rendered(t, sample().HTML), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, scheme := range map[string]int{"dark": 0, "light": 1} {
		t.Run(name, func(t *testing.T) {
			shot := photograph(t, page, scheme)
			if shot.Bounds().Dx() != 1280 {
				t.Errorf("the picture is %d wide", shot.Bounds().Dx())
			}
			if dark := shade(shot, 2, 2) < 0x4000; dark != (name == "dark") {
				t.Errorf("the paper's shade is %#x", shade(shot, 2, 2))
			}
			if !drawn(shot) {
				t.Error("the page is blank")
			}
		})
	}
}

// A script that fails must be seen by the test above.
func TestBrowserReportsErrors(t *testing.T) {
	page := filepath.Join(t.TempDir(), "broken.html")
	b := bytes.Replace(rendered(t, sample().HTML), []byte(`"use strict";`), []byte(`"use strict"; `), 1)
	if err := os.WriteFile(page, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if out := browse(t, page, 1, filepath.Join(t.TempDir(), "shot.png")); !strings.Contains(out, ":CONSOLE") || !strings.Contains(out, "Content Security Policy") {
		t.Errorf("a script against the page's policy raises no error:\n%s", out)
	}
}

// photograph takes a picture of the page; REPORT_SHOTS names a folder to keep it in.
func photograph(t *testing.T, page string, scheme int) image.Image {
	dir := t.TempDir()
	if keep := os.Getenv("REPORT_SHOTS"); keep != "" {
		dir = keep
	}
	file := filepath.Join(dir, filepath.Base(t.Name())+".png")
	if out := browse(t, page, scheme, file); strings.Contains(out, ":CONSOLE") {
		t.Errorf("the browser complains:\n%s", out)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	shot, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return shot
}

// browse opens the page without a window and returns what the browser logs.
func browse(t *testing.T, page string, scheme int, shot string) string {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium; .ci/peers installs it")
		}
		t.Skip("no chromium")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--disable-gpu", "--hide-scrollbars",
		"--no-sandbox", // root has none, and the page is ours
		"--user-data-dir="+t.TempDir(), "--enable-logging=stderr", "--window-size=1280,4600",
		fmt.Sprintf("--blink-settings=preferredColorScheme=%d", scheme), "--screenshot="+shot, "file://"+page)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func shade(m image.Image, x, y int) uint32 {
	r, g, b, _ := m.At(x, y).RGBA()
	return (r + g + b) / 3
}

// drawn tells whether the blue of the first router is in the picture.
func drawn(m image.Image) bool {
	n := 0
	for y := m.Bounds().Min.Y; y < m.Bounds().Max.Y; y += 4 {
		for x := 0; x < m.Bounds().Dx(); x += 4 {
			if r, _, b, _ := m.At(x, y).RGBA(); b > r+0x6000 {
				n++
			}
		}
	}
	return n > 200
}
