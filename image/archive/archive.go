// Package archive packs a release for cold storage: one encrypted file (age,
// age-encryption.org/v1) with everything in it, which only its recipients can read
// and which, taken out, is what was put in.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// Write encrypts the files of a folder tree, by their names, for the recipients.
func Write(w io.Writer, dir string, names []string, to []age.Recipient) error {
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	t := tar.NewWriter(sealed)
	for _, name := range names {
		if err := add(t, dir, name); err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
	}
	if err := errors.Join(t.Close(), sealed.Close()); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

func add(t *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	// No owner, no time: they say nothing of the release.
	if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, Size: fi.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}

// Read takes an archive out into an empty folder. With an error what is there is
// not to be used: age vouches for a file's bytes only up to where it was read, so
// everything lies in dir under a name of its own until the end is reached.
func Read(r io.Reader, dir string, who ...age.Identity) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("take out archive: %s is not empty", dir)
	}
	plain, err := age.Decrypt(r, who...)
	if err != nil {
		return fmt.Errorf("take out archive: %w", err)
	}
	part := strings.TrimSuffix(dir, "/") + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	for t := tar.NewReader(plain); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = put(part, h, t)
		}
		if err != nil {
			return fmt.Errorf("take out archive: %w", err)
		}
	}
	if _, err := io.Copy(io.Discard, plain); err != nil { // its last chunk says it is whole
		return fmt.Errorf("take out archive: %w", err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(part, dir)
}

func put(dir string, h *tar.Header, r io.Reader) error {
	if h.Typeflag != tar.TypeReg || !filepath.IsLocal(filepath.FromSlash(h.Name)) {
		return fmt.Errorf("got %.80q, want plain files within the folder", h.Name)
	}
	path := filepath.Join(dir, filepath.FromSlash(h.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
