//go:build race

package sim

// raceFactor divides what is expected of speed: the race detector slows the program down.
const raceFactor = 30
