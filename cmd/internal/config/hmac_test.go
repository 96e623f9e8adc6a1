package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Keys of auth_hmac are written out, in hex or in a file; the first is the active one. What
// cannot be a key is told, and without any there is no auth_hmac.
func TestKeysOfHMAC(t *testing.T) {
	long := strings.Repeat("k", 32)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(long+"\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		inside string
		active uint8
		key    []byte
		told   string
	}{
		{"key 3 " + long, 3, []byte(long), ""},
		{"key 9 " + long + "\nkey 3 hex:" + strings.Repeat("0a", 40), 3, bytes.Repeat([]byte{10}, 40), ""},
		{"key 9 " + long + "\nkey 3 hex:" + strings.Repeat("0a", 40) + "\nactive_key 9", 9, []byte(long), ""},
		{"key 3 file:" + path, 3, []byte(long), ""},
		{"key 3 " + long + "\nactive_key 4", 3, []byte(long), "active_key 4: there is no key of that number; 3 is used"},
		{"key 3 hex:0a", 0, nil, "key 3: has 1 bytes, must have 32 to 64; it is ignored"},
		{"key 3 hex:zz", 0, nil, "key 3: hex: "},
		{"key 3 file:" + path + ".none", 0, nil, "no such file or directory; it is ignored"},
		{"key 3 hex:" + strings.Repeat("0a", 65), 0, nil, "auth_hmac has no key; it is ignored"},
	} {
		text := "vrrp_instance A {\ninterface eth0\nvirtual_router_id 1\nadvert_int 3\nvirtual_ipaddress { 10.0.0.1 }\nauth_hmac {\n" + tt.inside + "\n}\n}\n"
		cfg, messages := Parse("a.conf", []byte(text), Options{})
		var all []string
		for _, m := range messages {
			if m.Level != Notice {
				all = append(all, m.String())
			}
		}
		if told := strings.Join(all, "\n"); !strings.Contains(told, tt.told) || tt.told == "" && told != "" {
			t.Errorf("%s\ntold %s\nwant %s", tt.inside, told, tt.told)
		}
		h := cfg.Instances[0].HMAC
		if tt.key == nil {
			if h != nil {
				t.Errorf("%s: %+v", tt.inside, h)
			}
			continue
		}
		if h == nil || h.ActiveKey != tt.active || !bytes.Equal(h.Secrets()[tt.active], tt.key) || h.TimeWindow != 9*time.Second || h.Mode != "enforce" || h.AntiReplay != "time" {
			t.Errorf("%s: %+v", tt.inside, h)
		}
	}
}
