package main

import (
	"errors"
	"net"

	"github.com/ringkeep/ringkeep/checks"
	"github.com/ringkeep/ringkeep/cmd/internal/config"
)

// host is this machine, as configurations are compared with it.
type host struct{ interfaces map[string]bool }

func thisHost() (host, error) {
	list, err := net.Interfaces()
	h := host{map[string]bool{}}
	for _, i := range list {
		h.interfaces[i.Name] = true
	}
	return h, err
}

// Interface tells whether an interface exists.
func (h host) Interface(name string) bool { return h.interfaces[name] }

// Script returns why a command cannot be run as it should.
func (h host) Script(path string, user, group string, security bool) error {
	v, err := judge([]string{path}, &config.Account{User: user, Group: group}, checks.DefaultUser(), security)
	switch {
	case err != nil:
		return err
	case v.Reason == checks.Safe:
		return nil
	case v.Reason == checks.Unsafe:
		return config.Unsafe{Reason: v.String()}
	}
	return errors.New(v.String())
}

// tryRegex says what is wrong with a regex of HTTP_GET.
func tryRegex(pattern string, words []string) error {
	_, err := checks.NewRegex(pattern, checks.RegexOptions{Words: words})
	return err
}
