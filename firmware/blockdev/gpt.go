package blockdev

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Entry is a partition as its disk's table has it.
type Entry struct {
	Number      int
	GUID        string // of this partition, lower case
	Start, Size uint64 // in the disk's blocks
	Name        string // the device; empty from ReadGPT
}

// GUID returns the partition with that identity. Names may occur on two disks, a
// partition's GUID does not.
func (f Finder) GUID(guid string) (Entry, error) {
	for _, dev := range f.devices() {
		number, err := f.number(dev, "partition")
		if err != nil {
			continue // a whole disk
		}
		real, err := filepath.EvalSymlinks(filepath.Join(f.Sys, "class/block", dev))
		if err != nil {
			continue
		}
		disk := filepath.Base(filepath.Dir(real))
		block, err := f.number(disk, "queue/logical_block_size")
		if err != nil {
			continue
		}
		for _, e := range f.table(disk, block) {
			if e.Number == number && e.GUID == strings.ToLower(guid) {
				e.Name = filepath.Join(f.Dev, dev)
				return e, nil
			}
		}
	}
	return Entry{}, fmt.Errorf("no partition has the GUID %.40q", guid)
}

func (f Finder) number(dev, file string) (int, error) {
	text, err := os.ReadFile(filepath.Join(f.Sys, "class/block", dev, file))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// table reads a disk's partition table; a disk without one has no partitions.
func (f Finder) table(disk string, block int) []Entry {
	d, err := os.Open(filepath.Join(f.Dev, disk))
	if err != nil {
		return nil
	}
	defer d.Close()
	all, err := ReadGPT(d, block)
	if err != nil {
		return nil
	}
	return all
}

// Bounds of a partition table (UEFI 2.10, section 5.3): the header is in the
// second block, entries have 128 bytes times a power of two.
const (
	gptHead    = 92
	maxEntries = 512
	maxEntry   = 1024
)

// ReadGPT reads the primary partition table of a disk with blocks of that many
// bytes, 512 or 4096.
func ReadGPT(disk io.ReaderAt, block int) ([]Entry, error) {
	if block != 512 && block != 4096 {
		return nil, fmt.Errorf("partition table: got blocks of %d bytes, want 512 or 4096", block)
	}
	head := make([]byte, gptHead)
	if _, err := disk.ReadAt(head, int64(block)); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	le := binary.LittleEndian
	if !bytes.HasPrefix(head, []byte("EFI PART")) {
		return nil, fmt.Errorf("partition table: got signature %q, want EFI PART", head[:8])
	}
	at, n, size := le.Uint64(head[72:]), le.Uint32(head[80:]), le.Uint32(head[84:])
	if at == 0 || at > 1<<20 || n > maxEntries || size < 128 || size > maxEntry {
		return nil, fmt.Errorf("partition table: got %d entries of %d bytes at block %d, want at most %d of 128 to %d", n, size, at, maxEntries, maxEntry)
	}
	raw := make([]byte, n*size)
	if _, err := disk.ReadAt(raw, int64(at)*int64(block)); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	var all []Entry
	for i := range int(n) {
		e := raw[i*int(size):]
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if bytes.Equal(e[:16], make([]byte, 16)) || last < first {
			continue
		}
		all = append(all, Entry{Number: i + 1, GUID: guidText(e[16:32]), Start: first, Size: last - first + 1})
	}
	return all, nil
}

// guidText writes a GUID, whose first three fields are little-endian.
func guidText(raw []byte) string {
	b := bytes.Clone(raw)
	for _, field := range [][]byte{b[0:4], b[4:6], b[6:8]} {
		slices.Reverse(field)
	}
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
