//go:build race

package config

// slack multiplies the time limits of tests: the race detector slows the reader down.
const slack = 15
