package report

import (
	"io"
	"os"
	"path/filepath"
)

// textWidth is that of a text without a terminal.
const textWidth = 100

// Files writes the report into a directory, as report.html, report.svg and report.txt,
// and returns the path of the page.
func (r *Run) Files(dir string) (page string, err error) {
	page = filepath.Join(dir, "report.html")
	for path, write := range map[string]func(io.Writer) error{
		page:                             r.HTML,
		filepath.Join(dir, "report.svg"): r.SVG,
		filepath.Join(dir, "report.txt"): func(w io.Writer) error { return r.Text(w, textWidth) },
	} {
		if err := save(path, write); err != nil {
			return "", err
		}
	}
	return page, nil
}

func save(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
