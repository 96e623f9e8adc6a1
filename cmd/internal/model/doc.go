// Package model runs the pure node in the place of a director that is watched: it is given
// what arrives there and the time, and tells what it would do. It sends nothing, starts
// nothing and has no clock, so that a recording gives the same model every time.
//
// What cannot be known from outside is taken to be well: links are up, addresses that the
// node asks for are there, tracking scripts succeed and neighbours answer at once. Virtual
// servers are left out.
package model
