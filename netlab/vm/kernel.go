package vm

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// metaPackage depends on the newest kernel of Debian's cloud images.
const metaPackage = "linux-image-cloud-amd64"

// kernel is an unpacked kernel package.
type kernel struct {
	image   string            // the file to boot
	modules map[string]string // path by name
}

// cachedKernel unpacks the kernel into the cache, unless it is there. A newer kernel comes
// when the folder is removed.
func cachedKernel(ctx context.Context) (kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, "ringkeep", "vm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return kernel{}, err
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	k, err := openKernel(filepath.Join(dir, "kernel"))
	if errors.Is(err, fs.ErrNotExist) {
		if err = fetchKernel(ctx, dir); err != nil {
			// The package lists may be missing, or older than what the archive still has.
			if _, err = output(ctx, dir, "apt-get", "update", "-qq"); err == nil {
				err = fetchKernel(ctx, dir)
			}
		}
		if err == nil {
			k, err = openKernel(filepath.Join(dir, "kernel"))
		}
	}
	if err != nil {
		return kernel{}, fmt.Errorf("the kernel in %[1]s: %[2]w\nit comes with apt-get download; or unpack a package linux-image-*-cloud-amd64 yourself: dpkg-deb -x FILE.deb %[1]s/kernel", dir, err)
	}
	return k, nil
}

// lock keeps other processes out until it is released.
func lock(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// fetchKernel downloads the package and unpacks it into dir/kernel, which appears only
// when it is whole.
func fetchKernel(ctx context.Context, dir string) error {
	out, err := output(ctx, dir, "apt-cache", "depends", metaPackage)
	if err != nil {
		return err
	}
	_, after, ok := strings.Cut(out, "Depends: linux-image")
	if !ok {
		return fmt.Errorf("%s is in no package list", metaPackage)
	}
	version, _, _ := strings.Cut(after, "\n")
	work, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := output(ctx, work, "apt-get", "download", "-qq", "linux-image"+version); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("apt-get download left %d packages", len(packages))
	}
	if _, err := output(ctx, work, "dpkg-deb", "-x", packages[0], "kernel"); err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "kernel"), filepath.Join(dir, "kernel"))
}

func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, complaints bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, complaints.Bytes())
	}
	return out.String(), nil
}

// openKernel finds the parts of an unpacked package.
func openKernel(dir string) (kernel, error) {
	if _, err := os.Stat(dir); err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("%d kernels where one should be", len(images))
	}
	k := kernel{image: images[0], modules: map[string]string{}}
	err = filepath.WalkDir(filepath.Join(dir, "lib", "modules"), func(path string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok {
			k.modules[underscored(name)] = path
		}
		return err
	})
	return k, err
}

// underscored is a module's name as the kernel writes it.
func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// inOrder lists the files of modules, each after those that it depends on.
func (k kernel) inOrder(names []string) (paths []string, err error) {
	for _, name := range names {
		path, ok := k.modules[underscored(name)]
		if !ok {
			return nil, fmt.Errorf("module %s: not in this kernel", name)
		}
		needed, err := dependencies(path)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		before, err := k.inOrder(needed)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		for _, p := range append(before, path) {
			if !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	return paths, nil
}

// dependencies are what a module says of itself in its section .modinfo.
func dependencies(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if list, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(list) > 0 {
			return strings.Split(string(list), ","), nil
		}
	}
	return nil, nil
}
