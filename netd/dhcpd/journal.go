package dhcpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"

	"clinicgate/firmware/durable"
	"clinicgate/netd/dhcpd/leases"

	"golang.org/x/sys/unix"
)

// journal keeps leases on disk: a line for each change, "crc32 JSON", appended
// and synced before the device is told. Stop within a line: it is not whole, is
// passed over when read, and the device was not told. Now and then the file is
// replaced by what counts of it; stop there: the old one or the new one.
type journal struct {
	path   string
	f      *os.File // nil: replace the file before the next line
	lines  int
	latest func() []leases.Lease
}

// Bounds of the file.
const (
	maxJournal = 4 << 20
	slack      = 2000 // lines beside those that count
)

// openJournal reads what was stored, in its order, and how many lines were not
// whole. latest gives what counts when the file is replaced.
func openJournal(path string, latest func() []leases.Lease) (*journal, []leases.Lease, int, error) {
	j := &journal{path: path, latest: latest}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, 0, nil
	}
	if err != nil {
		return j, nil, 0, fmt.Errorf("read leases: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return j, nil, 0, fmt.Errorf("read leases: %w", err)
	}
	all, torn := replay(data)
	return j, all, torn, nil
}

func replay(data []byte) (all []leases.Lease, torn int) {
	for line := range bytes.Lines(data) {
		l, err := parseLine(line)
		if err != nil {
			torn++
			continue
		}
		all = append(all, l)
	}
	return all, torn
}

func parseLine(line []byte) (l leases.Lease, err error) {
	body, whole := bytes.CutSuffix(line, []byte("\n"))
	sum, text, found := bytes.Cut(body, []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !whole || !found || err != nil || crc32.ChecksumIEEE(text) != uint32(want) {
		return l, errors.New("not a whole line")
	}
	return l, json.Unmarshal(text, &l)
}

func line(l leases.Lease) ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

// keep returns once the lease outlives a power cut. latest must contain it.
func (j *journal) keep(l leases.Lease) error {
	if j.f == nil || j.lines > len(j.latest())+slack {
		return j.replace()
	}
	b, err := line(l)
	if err == nil {
		_, err = j.f.Write(b)
	}
	if err == nil {
		err = unix.Fdatasync(int(j.f.Fd()))
	}
	if err != nil {
		j.close() // what the file ends with now nobody knows
		return fmt.Errorf("store lease: %w", err)
	}
	j.lines++
	return nil
}

// replace writes the file anew and opens it for what follows.
func (j *journal) replace() error {
	j.close()
	var all []byte
	list := j.latest()
	for _, l := range list {
		b, err := line(l)
		if err != nil {
			return fmt.Errorf("store leases: %w", err)
		}
		all = append(all, b...)
	}
	if err := durable.WriteFile(j.path, all, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("store leases: %w", err)
	}
	j.f, j.lines = f, len(list)
	return nil
}

func (j *journal) close() {
	if j.f != nil {
		j.f.Close()
		j.f = nil
	}
}
