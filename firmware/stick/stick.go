// Package stick brings a site onto a new box from a stick: site.toml, anchors/, lists/
// of revoked cards and secrets/<program>/. The box has the whole site afterwards or none of it, at
// whatever point the power goes.
package stick

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// Label is the volume label of a site stick.
const Label = "CGSITE"

// Bounds on what a stick may bring; a real site has a dozen files of a few KiB.
const (
	maxFile  = 256 << 10
	maxList  = 8 << 20 // a list of revoked cards
	maxLists = 32 << 20
	maxFiles = 200
)

// name is how files and folders of a site are called.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ErrNoSite says that a stick has no site.toml.
var ErrNoSite = errors.New("site.toml is missing")

// Owner is who may read what is imported.
type Owner struct{ UID, GID int }

// Owners of an imported site: the site itself, and each program's secrets. A
// folder of secrets for a program that is not in Programs is refused.
type Owners struct {
	Site     Owner
	Programs map[string]Owner
}

// Imported reports whether the box has a site.
func Imported(data string) bool {
	_, err := os.Stat(filepath.Join(data, "site", "site.toml"))
	return err == nil
}

// Import copies the site from the mounted stick at src to the data partition. In
// order:
//
//	copy all to data/.import, synced     stop here: no site; the next import starts over
//	rename .import/secrets to secrets    stop here: secrets without a site, which count as
//	                                     nothing and are replaced by the next import
//	rename .import/site to site          stop here: the old empty folder, or the whole site
//	sync data
//
// It must not be called when Imported: it would replace the secrets.
func Import(src, data string, owners Owners) error {
	if fi, err := os.Lstat(filepath.Join(src, "site.toml")); err != nil || !fi.Mode().IsRegular() {
		return fmt.Errorf("import site: %w", ErrNoSite)
	}
	tmp := filepath.Join(data, ".import")
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("import site: %w", err)
	}
	c := &copier{left: maxFiles}
	if err := c.all(src, tmp, owners); err != nil {
		return fmt.Errorf("import site: %w", err)
	}
	return commit(tmp, data)
}

// commit moves the finished copy into place. The order matters: see Import.
func commit(tmp, data string) error {
	for _, step := range []struct {
		dir   string
		empty bool // must be empty to be replaced: it counts as the site itself
	}{{"secrets", false}, {"site", true}} {
		to := filepath.Join(data, step.dir)
		if !step.empty {
			if err := os.RemoveAll(to); err != nil {
				return fmt.Errorf("import site: %w", err)
			}
		}
		// Not os.Rename, which refuses to replace a folder, empty or not.
		if err := unix.Rename(filepath.Join(tmp, step.dir), to); err != nil {
			return fmt.Errorf("import site: move %s into place: %w", step.dir, err)
		}
		if err := durable.SyncDir(data); err != nil {
			return fmt.Errorf("import site: %w", err)
		}
	}
	if err := os.Remove(tmp); err != nil {
		return fmt.Errorf("import site: %w", err)
	}
	return nil
}

type copier struct {
	left  int   // files
	lists int64 // bytes of lists so far
}

// all copies the stick's parts into tmp.
func (c *copier) all(src, tmp string, owners Owners) error {
	site := filepath.Join(tmp, "site")
	if err := makeDir(site, 0o750, owners.Site); err != nil {
		return err
	}
	if err := c.file(filepath.Join(src, "site.toml"), filepath.Join(site, "site.toml"), 0o640, owners.Site); err != nil {
		return err
	}
	if err := c.folder(filepath.Join(src, "anchors"), filepath.Join(site, "anchors"), 0o750, 0o640, owners.Site); err != nil {
		return err
	}
	if err := c.revoked(filepath.Join(src, "lists"), filepath.Join(site, "lists"), owners.Site); err != nil {
		return err
	}
	secrets := filepath.Join(tmp, "secrets")
	if err := makeDir(secrets, 0o711, Owner{}); err != nil {
		return err
	}
	programs, err := os.ReadDir(filepath.Join(src, "secrets"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, p := range programs {
		owner, ok := owners.Programs[p.Name()]
		if !ok {
			return fmt.Errorf("secrets/%s: no program is called so", p.Name())
		}
		if err := c.folder(filepath.Join(src, "secrets", p.Name()), filepath.Join(secrets, p.Name()), 0o700, 0o400, owner); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(secrets); err != nil {
		return err
	}
	return durable.SyncDir(site)
}

// folder copies one flat folder of files. A missing one makes an empty one.
func (c *copier) folder(src, dst string, dirMode, fileMode os.FileMode, owner Owner) error {
	return c.folderOf(src, dst, dirMode, fileMode, owner, maxFile)
}

// folderOf is folder for files of at most so many bytes.
func (c *copier) folderOf(src, dst string, dirMode, fileMode os.FileMode, owner Owner, most int64) error {
	if err := makeDir(dst, dirMode, owner); err != nil {
		return err
	}
	entries, err := os.ReadDir(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !name.MatchString(e.Name()) {
			return fmt.Errorf("%s: got the name %q, want letters, digits, dot, dash", filepath.Base(src), e.Name())
		}
		if err := c.fileOf(filepath.Join(src, e.Name()), filepath.Join(dst, e.Name()), fileMode, owner, most); err != nil {
			return err
		}
	}
	return durable.SyncDir(dst)
}

// revoked copies the lists of revoked cards, which may be large. A stick without any
// is fine: they come by the link.
func (c *copier) revoked(src, dst string, owner Owner) error {
	entries, err := os.ReadDir(src)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			return err
		}
		if c.lists += fi.Size(); c.lists > maxLists {
			return fmt.Errorf("lists: more than %d bytes", maxLists)
		}
	}
	return c.folderOf(src, dst, 0o750, 0o640, owner, maxList)
}

// file copies one regular file of bounded size.
func (c *copier) file(src, dst string, mode os.FileMode, owner Owner) error {
	return c.fileOf(src, dst, mode, owner, maxFile)
}

func (c *copier) fileOf(src, dst string, mode os.FileMode, owner Owner, most int64) error {
	if c.left--; c.left < 0 {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	fi, err := os.Lstat(src)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() > most {
		return fmt.Errorf("%s: want a plain file of %d bytes at most, got %v of %d", filepath.Base(src), most, fi.Mode(), fi.Size())
	}
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return err
	}
	if err := durable.WriteFile(dst, text, mode); err != nil {
		return err
	}
	return os.Chown(dst, owner.UID, owner.GID)
}

func makeDir(path string, mode os.FileMode, owner Owner) error {
	if err := durable.MkdirAll(path, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil { // umask
		return err
	}
	return os.Chown(path, owner.UID, owner.GID)
}
