package config

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
)

//go:embed differences.md
var differences string

// Compatibility writes docs/compatibility.md: every keyword of keepalived with what
// this version does with it, and the deliberate differences.
func Compatibility(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Which keywords of keepalived.conf are understood\n\n<!-- Written by `make golden` from cmd/internal/config/keywords.tsv; edit that. -->\n\n")
	counts := map[status]int{}
	total := 0
	for _, t := range tables() {
		for _, w := range t.rows {
			counts[w.status]++
			total++
		}
	}
	fmt.Fprintf(&b, `Every keyword of keepalived is in one of these states (%d entries):

- **done** (%d): read, checked, and in effect;
- **read** (%d): read and checked into a typed field, printed and compared; its effect is
  still to come, and a notice says so when the file is loaded;
- **accepted** (%d): read and checked, without a meaning for this program; a notice says why;
- **refused** (%d): not taken, with the reason;
- **spelling** (%d): another spelling of a keyword.

A keyword that is *only here* is none of keepalived's: its line begins with `+"`@ringkeep`"+`, which
keepalived skips ([services.md](services.md) and [forwarding.md](forwarding.md) have what they are good for).

`, total, counts[done], counts[later], counts[accepted], counts[refused], counts[alias])
	b.WriteString(differences)
	b.WriteString("\n## Keywords by block\n\nTimes are in seconds, with up to six decimals. A keyword with [BOOL] alone means on; on,\ntrue, yes, off, false and no are taken. Options of address, route and rule lines are those\nof `ip address`, `ip route` and `ip rule`.\n")
	for _, name := range blockOrder() {
		t := tables()[name]
		fmt.Fprintf(&b, "\n### %s\n\n| keyword | arguments | range | default | state | meaning |\n| --- | --- | --- | --- | --- | --- |\n", titles(name))
		for _, w := range t.rows {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", code(w.keyword), code(strings.TrimPrefix(w.arguments, "-")), cell(w.kind.text()), cell(w.defaultText()), cell(w.stateCell()), cell(w.meaning))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (w *row) stateCell() string {
	state := map[status]string{done: "done", later: "read", accepted: "accepted", refused: "refused", alias: "spelling of " + w.kind.target}[w.status]
	if w.note != "" {
		state += ": " + w.note
	}
	return state
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}

// blockOrder lists the blocks in the order of keywords.tsv.
func blockOrder() []string {
	var list []string
	seen := map[string]bool{}
	for i, line := range strings.Split(keywordsTSV, "\n") {
		blocks, _, _ := strings.Cut(line, "\t")
		for name := range strings.FieldsSeq(blocks) {
			if i > 0 && !seen[name] {
				seen[name] = true
				list = append(list, name)
			}
		}
	}
	return list
}

// titles are the headings of blocks that have no name of their own.
func titles(name string) string {
	switch name {
	case "file":
		return "Top level"
	case "address":
		return "Lines of virtual_ipaddress, virtual_ipaddress_excluded and static_ipaddress"
	case "route":
		return "Lines of virtual_routes and static_routes"
	case "rule":
		return "Lines of virtual_rules and static_rules"
	}
	return name
}
