// Package config reads keepalived.conf files, says all at once what is wrong with them,
// and compares the files of the nodes of a cluster.
//
// A file goes through these hands:
//
//   - source.go, expand.go: lines, with includes, definitions, conditions and repetitions
//     resolved; line.go keeps for every character its place in the file;
//   - word.go: words and braces;
//   - block.go: statements, by the table of their block. Braces are counted as keepalived
//     counts them, so that a file with a mistake means the same here as there;
//   - kind.go, value.go and the types that read themselves: values. The fields of the
//     structs in types.go are found by the names of the keywords;
//   - resolve.go, instance.go, server.go: defaults that depend on other lines, and
//     keepalived's corrections; host.go compares with the machine;
//   - print.go writes the effective configuration, explain.go a line of it, compare.go
//     and outcome.go hold several files against each other.
//
// keywords.tsv is the single source for what is understood: every keyword of keepalived
// by block, with its arguments, range, default, and what this version does with it. The
// document docs/compatibility.md is written from it.
package config
