package config

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Secrets are the keys by their number, 32 to 64 bytes each.
func (h *HMAC) Secrets() map[uint8][]byte { return h.secrets }

// resolveHMAC finds the keys, drops what cannot be used and fills in the defaults.
func (in *Instance) resolveHMAC(r *reader) {
	h := in.HMAC
	if h == nil {
		return
	}
	h.secrets = map[uint8][]byte{}
	for _, id := range slices.Sorted(maps.Keys(h.Keys)) {
		secret, err := secret(h.Keys[id])
		if err != nil {
			r.say(Warning, h.At("key"), "key %d: %v; it is ignored", id, err)
			continue
		}
		h.secrets[id] = secret
	}
	if len(h.secrets) == 0 {
		r.say(Warning, h.Pos, "auth_hmac has no key; it is ignored")
		in.HMAC = nil
		return
	}
	if in.AuthType != "" {
		r.say(Warning, h.Pos, "auth_hmac and authentication exclude each other; authentication is ignored")
		in.AuthType, in.AuthPass = "", ""
	}
	if !h.Has("time_window") {
		h.TimeWindow = max(3*in.AdvertInterval, 5*time.Second)
	}
	if _, known := h.secrets[h.ActiveKey]; !known {
		first := slices.Min(slices.Collect(maps.Keys(h.secrets)))
		if h.ActiveKey != 0 {
			r.say(Warning, h.At("active_key"), "active_key %d: there is no key of that number; %d is used", h.ActiveKey, first)
		}
		h.ActiveKey = first
	}
}

// secret is what the text of a key stands for: hex digits, the first line of a file, or
// itself.
func secret(text string) (key []byte, err error) {
	key = []byte(text)
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		if key, err = hex.DecodeString(digits); err != nil {
			return nil, fmt.Errorf("hex: %w", err)
		}
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		key = []byte(line)
	}
	if n := len(key); n < 32 || n > 64 {
		return nil, fmt.Errorf("has %d bytes, must have 32 to 64", n)
	}
	return key, nil
}
