//go:build !race

package config

// slack multiplies the time limits of tests.
const slack = 1
