package attest

import (
	"crypto/sha256"
	"debug/pe"
	"fmt"
	"io"
	"strings"
)

// measured are the sections that systemd-stub measures, in its order (systemd 252 to
// 254, src/fundamental/tpm-pcr.h); .pcrsig, which signs the result, is not.
func measured() []string {
	return []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"}
}

// maxSection bounds a section of a kernel image.
const maxSection = 256 << 20

// Kernel is what register 11 must say on a box that was started from this kernel
// image: of each section its name, with a zero behind it, and then what is in it.
func Kernel(image io.ReaderAt) ([]byte, error) {
	f, err := pe.NewFile(image)
	if err != nil {
		return nil, fmt.Errorf("kernel image: %w", err)
	}
	value, n := make([]byte, sha256.Size), 0
	extend := func(sum []byte) {
		next := sha256.Sum256(append(value, sum...))
		value = next[:]
	}
	for _, name := range measured() {
		for _, s := range f.Sections {
			if strings.TrimRight(s.Name, "\x00") != name {
				continue
			}
			size := int64(min(s.VirtualSize, s.Size))
			if size > maxSection {
				return nil, fmt.Errorf("kernel image: section %s of %d bytes, want at most %d", name, size, maxSection)
			}
			title, h := sha256.Sum256([]byte(name+"\x00")), sha256.New()
			if _, err := io.CopyN(h, s.Open(), size); err != nil {
				return nil, fmt.Errorf("kernel image: section %s: %w", name, err)
			}
			extend(title[:])
			extend(h.Sum(nil))
			n++
		}
	}
	if n < 4 {
		return nil, fmt.Errorf("kernel image: got %d measured sections, want at least four, as of a unified one", n)
	}
	return value, nil
}
