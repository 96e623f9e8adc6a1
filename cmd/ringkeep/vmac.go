package main

import (
	"fmt"
	"slices"

	"github.com/ringkeep/ringkeep/cmd/internal/config"
	"github.com/ringkeep/ringkeep/cmd/internal/kernel"
	"github.com/ringkeep/ringkeep/cmd/internal/node"
)

// keepVMACs removes those that the node does not want.
func (d *director) keepVMACs() error {
	var names []string
	for _, v := range d.node.VMACs() {
		names = append(names, v.Name)
	}
	return d.kernel.KeepMacvlans(names)
}

// makeVMACs makes the interfaces with the virtual MACs of the instances with use_vmac. The
// kernel room removes them at its end.
func makeVMACs(k *kernel.Kernel, cfg *config.Config) error {
	links, err := k.Links()
	if err != nil {
		return err
	}
	names := kernel.ReadNames()
	for _, v := range node.VMACs(cfg, nodeLinks(links)) {
		c, at := v.Instance, v.Instance.At("use_vmac")
		group, err := names.Number(kernel.GroupNames, c.UseVMAC.Group, 1<<32-1)
		if err != nil {
			return fmt.Errorf("%s: use_vmac group %w", at, err)
		}
		m := kernel.Macvlan{Name: v.Name, Base: v.Base, MAC: v.MAC, Group: group, Instance: c.Name, IPv6: c.Family() == 6}
		for _, a := range slices.Concat(c.Addresses, c.Excluded) {
			if m.IPv6 && a.Device == "" && a.Prefix.Addr().Is6() {
				m.Addrs = append(m.Addrs, a.Prefix.Addr())
			}
		}
		if err := k.AddMacvlan(m); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}
