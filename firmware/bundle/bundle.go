// Package bundle packs what a box can say of itself for those who help from afar:
// encrypted to their key, of bounded size, and without what points to a patient.
package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"filippo.io/age"
)

// Bounds. A full bundle is some 200 KiB compressed.
const (
	maxEntry = 1 << 20
	maxAll   = 12 << 20
	maxFiles = 100
)

// manifestName is the list of what is in a bundle; it comes last.
const manifestName = "MANIFEST.json"

// Manifest says what a bundle has, and what it lacks and why.
type Manifest struct {
	V       int       `json:"v"` // 1
	Site    string    `json:"site"`
	Release string    `json:"release"`
	Made    time.Time `json:"made"`
	Entries []Entry   `json:"entries"`
	Lacks   []string  `json:"lacks,omitempty"` // name: why
}

// Entry is one file of a bundle.
type Entry struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Cut   int    `json:"cut,omitempty"` // so many bytes at its beginning were left out
}

// Writer writes one bundle.
type Writer struct {
	age  io.WriteCloser
	zip  *gzip.Writer
	tar  *tar.Writer
	list Manifest
	left int
}

// Recipient checks a public key, "age1…".
func Recipient(key string) (age.Recipient, error) {
	r, err := age.ParseX25519Recipient(key)
	if err != nil {
		return nil, fmt.Errorf("got %.80q, want an age public key such as \"age1...\": %w", key, err)
	}
	return r, nil
}

// New begins a bundle that only the holder of the key to can read.
func New(w io.Writer, to age.Recipient, list Manifest) (*Writer, error) {
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return nil, fmt.Errorf("begin bundle: %w", err)
	}
	list.V = 1
	b := &Writer{age: sealed, zip: gzip.NewWriter(sealed), list: list, left: maxAll}
	b.tar = tar.NewWriter(b.zip)
	return b, nil
}

// Add puts a file in. Of one that is too long its end is kept, which is the latest.
func (b *Writer) Add(name string, text []byte) error {
	most := min(maxEntry, b.left)
	cut := max(0, len(text)-most)
	if err := b.put(name, text[cut:]); err != nil {
		return err
	}
	b.left -= len(text) - cut
	b.list.Entries = append(b.list.Entries, Entry{name, len(text) - cut, cut})
	return nil
}

// Lack notes what could not be had.
func (b *Writer) Lack(name string, why error) {
	b.list.Lacks = append(b.list.Lacks, string(Text([]byte(name+": "+why.Error()))))
}

// Close ends the bundle with its list. Without it the bundle can't be opened.
func (b *Writer) Close() error {
	list, err := json.MarshalIndent(b.list, "", "  ")
	if err == nil {
		err = b.put(manifestName, append(list, '\n'))
	}
	return errors.Join(err, b.tar.Close(), b.zip.Close(), b.age.Close())
}

func (b *Writer) put(name string, text []byte) error {
	err := b.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), ModTime: b.list.Made, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = b.tar.Write(text)
	}
	if err != nil {
		return fmt.Errorf("add %s to the bundle: %w", name, err)
	}
	return nil
}

// entryName is how files in a bundle are called: a bundle comes from a box that may be
// anybody's by now.
var entryName = regexp.MustCompile(`^(?:[a-z0-9][a-z0-9-]{0,31}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Open unpacks a bundle into a new folder with a private key, "AGE-SECRET-KEY-1…", and
// returns its list.
func Open(r io.Reader, key, dir string) (*Manifest, error) {
	identities, err := age.ParseIdentities(strings.NewReader(key))
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	plain, err := age.Decrypt(r, identities...)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	unzipped, err := gzip.NewReader(plain)
	if err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open bundle: %w", err)
	}
	files := tar.NewReader(io.LimitReader(unzipped, 2*maxAll))
	for range maxFiles {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		text, err := unpack(dir, h, files)
		if err != nil {
			return nil, fmt.Errorf("open bundle: %w", err)
		}
		if h.Name == manifestName {
			list := new(Manifest)
			if err := json.NewDecoder(bytes.NewReader(text)).Decode(list); err != nil {
				return nil, fmt.Errorf("open bundle: its list: %w", err)
			}
			return list, nil
		}
	}
	return nil, errors.New("open bundle: it has no list: it was broken off")
}

func unpack(dir string, h *tar.Header, from io.Reader) ([]byte, error) {
	if !entryName.MatchString(h.Name) || h.Typeflag != tar.TypeReg || h.Size > 2*maxEntry {
		return nil, fmt.Errorf("got the entry %.80q of %d bytes, want a plain file of %d at most", h.Name, h.Size, 2*maxEntry)
	}
	text, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, filepath.FromSlash(h.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return text, os.WriteFile(path, text, 0o600)
}
