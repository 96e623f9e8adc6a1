// Package vm boots the kernel of Debian's cloud images in a virtual machine and runs a
// command in it. It is for what this host's kernel lacks, IPVS before all, and for what
// must not happen to it.
//
// The machine is emulated (qemu-system-x86_64, no KVM needed) and lives in memory: its
// only file system is made for each run from a static busybox, the kernel modules, and
// programs of this host with their libraries. The kernel package is downloaded once with
// apt-get and unpacked, not installed, into the user's cache directory.
//
// A machine has no network card: what a command needs it makes of veth and namespaces.
package vm
