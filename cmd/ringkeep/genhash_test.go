package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// TestGenhash compares with keepalived's genhash, byte for byte.
func TestGenhash(t *testing.T) {
	keepalivedOrSkip(t)
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNotFound)
		}
		name := ""
		if r.TLS != nil {
			name = r.TLS.ServerName
		}
		fmt.Fprintf(w, "%s %s %s %s %q", r.Proto, r.Host, r.URL, name, r.Header)
	})
	plain, secure := httptest.NewServer(page), httptest.NewTLSServer(page)
	defer plain.Close()
	defer secure.Close()
	for _, tt := range []struct{ server, options string }{
		{plain.URL, "-u /"}, {plain.URL, "-u /none"}, {plain.URL, "-u /a?b=c -V www.example.com"}, {plain.URL, "-u / -P 1.1"}, {plain.URL, "-u / -P 1.0C"},
		{secure.URL, "-S -u /"}, {secure.URL, "-S -I -u / -V www.example.com"}, {secure.URL, "-S -u / -V www.example.com -P 1.1"},
	} {
		u, err := url.Parse(tt.server)
		if err != nil {
			t.Fatal(err)
		}
		args := append([]string{"-s", u.Hostname(), "-p", u.Port()}, strings.Fields(tt.options)...)
		ours, err := exec.Command("ringkeep", append([]string{"genhash"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := exec.Command("keepalived", append([]string{"--genhash"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(ours) != string(theirs) || len(ours) != 33 {
			t.Errorf("%v: %q, keepalived %q", args, ours, theirs)
		}
	}
	plain.Close()
	u, _ := url.Parse(plain.URL)
	out, err := exec.Command("ringkeep", "genhash", "-s", u.Hostname(), "-p", u.Port(), "-u", "/").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "connection refused") {
		t.Errorf("%q, %v", out, err)
	}
}
