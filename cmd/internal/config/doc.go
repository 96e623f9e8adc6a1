// Package config reads keepalived.conf files: text into statements with positions
// (lex.go, tree.go), statements into typed values (one table of keywords a block),
// with keepalived's defaults and corrections applied. What is wrong is told all at
// once, each with file, line and column.
//
// keepalived skips a keyword that it does not know, and so does this package, with a
// warning that names the nearest known one. keywords.tsv lists every keyword that
// keepalived knows, by block: one that is in the list and not in the tables here is
// accepted with a notice that it has no effect yet.
package config
