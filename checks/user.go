package checks

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// defaultUser is the account that scripts run as, if it exists and none is written.
const defaultUser = "keepalived_script"

// DefaultUser is the account for scripts without a user of their own: its name if
// this host has keepalived's account for scripts, else "", which is who we are.
func DefaultUser() string {
	if _, err := user.Lookup(defaultUser); err != nil {
		return ""
	}
	return defaultUser
}

// identity is whom a script runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32 // supplementary
}

// self reports whether no switch is needed. Then the groups stay as they are too:
// dropping them is denied to the root of a user namespace.
func (id identity) self() bool {
	return int(id.uid) == os.Geteuid() && int(id.gid) == os.Getegid() && len(id.groups) == 0
}

func (id identity) in(gid uint32) bool {
	return id.gid == gid || slices.Contains(id.groups, gid)
}

// lookup finds the identity for the words of a configuration, see [Script].
func lookup(name, group string) (identity, error) {
	id := identity{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	group, supplementary := strings.CutPrefix(group, ":")
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return id, fmt.Errorf("unknown user %q", name)
		}
		if id.uid, err = number(u.Uid); err != nil {
			return id, err
		}
		if id.gid, err = number(u.Gid); err != nil {
			return id, err
		}
		if supplementary {
			if id.groups, err = groupsOf(u); err != nil {
				return id, err
			}
		}
	}
	if group == "" {
		return id, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return id, fmt.Errorf("unknown group %q", group)
	}
	id.gid, err = number(g.Gid)
	return id, err
}

func groupsOf(u *user.User) ([]uint32, error) {
	names, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of user %s: %w", u.Username, err)
	}
	gids := make([]uint32, len(names))
	for i, name := range names {
		if gids[i], err = number(name); err != nil {
			return nil, err
		}
	}
	return gids, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
