package segment

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"clinicgate/syncd/disk"
)

// MaxRecord is the longest record, in bytes. It also bounds what one fdatasync
// covers, and so what a stop can tear.
const MaxRecord = 8 << 20

// Sizes of segments.
const (
	defaultSize = 64 << 20
	smallSize   = 16 << 20 // on disks under smallDisk
	smallDisk   = 8 << 30
	minSize     = headerSize + 4<<10
	maxSize     = 1 << 30
)

// Errors that callers tell apart.
var (
	// ErrFull: no room for the record; nothing of it was written.
	ErrFull = errors.New("segment: no room")
	// ErrTooLarge: longer than a record can be in this log.
	ErrTooLarge = errors.New("segment: record too large")
	// ErrGone: the record's segment was retired.
	ErrGone = errors.New("segment: record retired")
	// ErrDamaged: bytes that were durable are not what they were.
	ErrDamaged = errors.New("segment: damaged")
	// ErrClosed: the log is closed.
	ErrClosed = errors.New("segment: closed")
)

// Options of a log. The zero value is usable.
type Options struct {
	// SegmentSize in bytes. Zero: 64 MiB, or 16 MiB on a disk under 8 GiB.
	// Segments of another size made earlier are read, and removed when retired.
	SegmentSize int64
	// MaxBytes bounds the folder. Zero: the disk is the bound.
	MaxBytes int64
	// KeepFree bytes of the file system are left to others. Zero: 32 MiB.
	KeepFree int64
	// FS replaces the disk, for tests.
	FS disk.FS
	// Background runs what is prepared aside. Nil: a goroutine. Tests run it in place,
	// so that every run takes the same steps.
	Background func(func())
}

// A Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	o    Options
	fs   disk.FS
	disk *disk.Dir // nil in tests

	mu      sync.Mutex // guards the next three
	waiting []*waiter
	leading bool // somebody commits, or has been told to
	closed  bool

	// Owned by whoever leads.
	active *segment // receives appends; nil: the next append begins one
	gen    uint64   // highest generation ever tried
	buf    []byte

	table sync.RWMutex
	live  []*segment // by generation; the last is the active one, or was

	space  sync.Mutex // guards the next two
	spares []string
	making bool
	aside  sync.WaitGroup
}

// A segment is one live file.
type segment struct {
	header
	name string // guarded by Log.table
	file disk.File
	end  atomic.Int64 // behind the last durable record
	lost bool         // never to be written or recycled; set by the leader or Open
	bad  error        // why its header can't be read; then it has no records
}

// Open opens the log in dir, making the folder if there is none, and recovers
// from whatever stop came before. Damage doesn't keep it from opening: Scan
// reports it.
func Open(dir string, o Options) (*Log, error) {
	l := &Log{o: o, fs: o.FS}
	if l.fs == nil {
		if o.KeepFree == 0 {
			o.KeepFree = 32 << 20
		}
		d, err := disk.Open(dir, o.KeepFree)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.fs, l.disk = d, d
	}
	if o.Background == nil {
		l.o.Background = l.aside.Go
	}
	if o.SegmentSize == 0 {
		l.o.SegmentSize = defaultSize
		if l.disk != nil && l.disk.Capacity() < smallDisk {
			l.o.SegmentSize = smallSize
		}
	}
	if n := l.o.SegmentSize; n < minSize || n > maxSize || n%4096 != 0 {
		l.Close()
		return nil, fmt.Errorf("open log: segment size %d, want a multiple of 4096 from %d to %d", n, minSize, maxSize)
	}
	if err := l.recover(); err != nil {
		l.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	l.prepare()
	return l, nil
}

// maxRecord is the longest record that fits a segment of this log.
func (l *Log) maxRecord() int {
	return int(min(MaxRecord, l.o.SegmentSize-headerSize-frameHead))
}

// A waiter is one Append in progress.
type waiter struct {
	record  []byte
	reserve bool
	wake    chan struct{}
	lead    bool // woken to commit, not because it is done
	last    bool // Close: comes after all others and appends nothing
	ref     Ref
	err     error
}

// Append makes the record durable and returns its place. After an error the
// record is not in the log, with one exception: if the process ends before the
// next Append succeeds, it may be found there after all. ErrFull means that
// nothing was written.
func (l *Log) Append(record []byte) (Ref, error) { return one(l.append([][]byte{record}, false)) }

// AppendReserve is Append with the right to the last segment of room. It is for
// small records without which room can't become free, such as receipts.
func (l *Log) AppendReserve(record []byte) (Ref, error) { return one(l.append([][]byte{record}, true)) }

// AppendAll appends records in their order, with as few syncs as one Append of all
// would take. It returns the places of those before the first that failed; none
// behind that one was promised anything.
func (l *Log) AppendAll(records [][]byte) ([]Ref, error) { return l.append(records, false) }

// AppendAllReserve is AppendAll with the right to the last segment of room.
func (l *Log) AppendAllReserve(records [][]byte) ([]Ref, error) { return l.append(records, true) }

func one(refs []Ref, err error) (Ref, error) {
	if err != nil {
		return Ref{}, err
	}
	return refs[0], nil
}

// append joins the commit that is forming. The first to come leads it: commits it
// in its own goroutine, so that a lone writer waits for nobody, and then hands
// the lead to the first of those who came meanwhile.
func (l *Log) append(records [][]byte, reserve bool) ([]Ref, error) {
	all := make([]*waiter, len(records))
	for i, r := range records {
		if len(r) > l.maxRecord() {
			return nil, fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, len(r), l.maxRecord())
		}
		all[i] = &waiter{record: r, reserve: reserve, wake: make(chan struct{})}
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	l.waiting = append(l.waiting, all...)
	leads := !l.leading && len(all) > 0
	l.leading = l.leading || leads
	l.mu.Unlock()
	for _, w := range all {
		if !leads {
			<-w.wake
		}
		if leads || w.lead {
			leads = false
			l.lead()
		}
	}
	refs := make([]Ref, 0, len(all))
	for _, w := range all {
		if w.err != nil {
			return refs, w.err
		}
		refs = append(refs, w.ref)
	}
	return refs, nil
}

// lead commits what waits, the caller's first record in front.
func (l *Log) lead() {
	l.mu.Lock()
	group := l.takeGroup()
	l.mu.Unlock()
	l.commit(group)
	for _, other := range group[1:] {
		close(other.wake)
	}
	l.handOver()
}

// takeGroup takes the waiters that one commit covers, its leader first. The
// caller holds mu.
func (l *Log) takeGroup() []*waiter {
	room, n := frameSize(MaxRecord), 0
	for ; n < len(l.waiting) && !l.waiting[n].last; n++ {
		if room -= frameSize(len(l.waiting[n].record)); room < 0 {
			break
		}
	}
	group := slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	return group
}

// handOver makes the first waiter lead, if there is one.
func (l *Log) handOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		l.leading = false
		return
	}
	next := l.waiting[0]
	next.lead = true
	close(next.wake)
}

// commit gives each waiter of the group its place or its error. Only the leader
// calls it.
func (l *Log) commit(group []*waiter) {
	for len(group) > 0 {
		n := l.fitting(group)
		if n > 0 {
			l.write(group[:n])
			group = group[n:]
			continue
		}
		if err := l.begin(group[0].reserve); err != nil {
			group[0].err = err
			group = group[1:]
		}
	}
}

// fitting counts the waiters at the front of group that fit the active segment.
func (l *Log) fitting(group []*waiter) int {
	if l.active == nil {
		return 0
	}
	room := l.active.size - l.active.end.Load()
	for i, w := range group {
		if room -= frameSize(len(w.record)); room < 0 {
			return i
		}
	}
	return len(group)
}

// write writes and syncs records that fit the active segment.
//
//	stop before the sync returns: none, some or torn ones are there; recovery
//	keeps the whole ones at the front and wipes the rest, nobody was promised any
//	stop after: all are there
func (l *Log) write(group []*waiter) {
	s := l.active
	from := s.end.Load()
	l.buf = l.buf[:0]
	for _, w := range group {
		off := from + int64(len(l.buf))
		w.ref = Ref{gen: s.gen, off: uint32(off), length: uint32(len(w.record))}
		l.buf = s.appendFrame(l.buf, w.record, off, from)
	}
	_, err := s.file.WriteAt(l.buf, from)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		// Whether these bytes are on the disk can't be found out any more. The
		// segment ends before them, which the header of the next will say.
		s.lost, l.active = true, nil
		err = fmt.Errorf("append to segment %x: %w", s.gen, err)
		for _, w := range group {
			w.ref, w.err = Ref{}, err
		}
		return
	}
	s.end.Store(from + int64(len(l.buf)))
	if cap(l.buf) > 1<<20 {
		l.buf = nil // a rare large group must not stay in memory
	}
}

// Read returns the record at ref, after checking it against its checksum.
func (l *Log) Read(ref Ref) ([]byte, error) {
	s := l.find(ref.gen)
	if s == nil {
		return nil, fmt.Errorf("%w: %v", ErrGone, ref)
	}
	if s.bad != nil || ref.length > MaxRecord || ref.off < headerSize || ref.end() > s.end.Load() {
		return nil, fmt.Errorf("%w: no record at %v", ErrDamaged, ref)
	}
	b := make([]byte, frameHead+int(ref.length))
	if _, err := s.file.ReadAt(b, int64(ref.off)); err != nil {
		if l.find(ref.gen) == nil {
			return nil, fmt.Errorf("%w: %v", ErrGone, ref)
		}
		return nil, fmt.Errorf("read %v: %w", ref, err)
	}
	f, ok := s.parseFrame(b, int64(ref.off))
	if !ok || f.length != int(ref.length) || f.crc != s.sum(b, b[frameHead:]) {
		return nil, fmt.Errorf("%w: record at %v", ErrDamaged, ref)
	}
	return b[frameHead:], nil
}

func (l *Log) find(gen uint64) *segment {
	l.table.RLock()
	defer l.table.RUnlock()
	i, ok := slices.BinarySearchFunc(l.live, gen, func(s *segment, gen uint64) int {
		return Ref{gen: s.gen}.Compare(Ref{gen: gen})
	})
	if !ok {
		return nil
	}
	return l.live[i]
}

// Close waits for appends in progress and closes the log. It makes nothing
// durable: what Append returned for already is.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	if l.leading {
		last := &waiter{wake: make(chan struct{}), last: true}
		l.waiting = append(l.waiting, last)
		l.mu.Unlock()
		<-last.wake // the lead is ours now, and nobody else will ask for it
		l.mu.Lock()
		l.waiting, l.leading = nil, false
	}
	l.mu.Unlock()
	l.aside.Wait()
	l.table.Lock()
	defer l.table.Unlock()
	for _, s := range l.live {
		if s.file != nil {
			s.file.Close()
		}
	}
	l.live = nil
	if l.disk != nil {
		return l.disk.Close()
	}
	return nil
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrFull)
}
