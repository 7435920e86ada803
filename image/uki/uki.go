// Package uki makes a unified kernel image: systemd's EFI stub with command line,
// initrd and kernel as PE sections, one file that the firmware can boot, verify
// and measure (UAPI.5, Unified Kernel Image).
package uki

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"fmt"
)

// Section is one part of the image.
type Section struct {
	Name string // ".cmdline"; eight bytes at most
	Data []byte
}

// Offsets in PE headers (Microsoft PE/COFF specification, revision 11).
const (
	lfanewAt         = 0x3c // offset of the PE signature
	coffSize         = 24   // signature and COFF header
	numSectionsAt    = 6    // from the signature
	optionalSizeAt   = 20   // from the signature
	sizeOfInitDataAt = 8    // in the optional header
	sizeOfImageAt    = 56   // in the optional header
	sectionSize      = 40
	characteristics  = 0x40000040 // initialised data, readable
)

// Append returns stub with the sections added, in that order, behind its own.
func Append(stub []byte, sections ...Section) ([]byte, error) {
	f, err := pe.NewFile(bytes.NewReader(stub))
	if err != nil {
		return nil, fmt.Errorf("read EFI stub: %w", err)
	}
	opt, ok := f.OptionalHeader.(*pe.OptionalHeader64)
	if !ok || len(f.Sections) == 0 {
		return nil, fmt.Errorf("read EFI stub: want a 64-bit PE file with sections")
	}
	sig := int(binary.LittleEndian.Uint32(stub[lfanewAt:]))
	optAt := sig + coffSize
	table := optAt + int(binary.LittleEndian.Uint16(stub[sig+optionalSizeAt:]))
	end := table + sectionSize*(len(f.Sections)+len(sections))
	if room := int(firstRaw(f)); end > room || end > int(opt.SizeOfHeaders) {
		return nil, fmt.Errorf("EFI stub: %d bytes of headers, no room for %d more sections", opt.SizeOfHeaders, len(sections))
	}
	out := bytes.Clone(stub)
	next := virtualEnd(f) // the next free virtual address
	added := uint32(0)
	for i, s := range sections {
		if len(s.Name) > 8 {
			return nil, fmt.Errorf("section %q: name longer than 8 bytes", s.Name)
		}
		out = pad(out, int(opt.FileAlignment))
		va := align(next, opt.SectionAlignment)
		raw := align(uint32(len(s.Data)), opt.FileAlignment)
		h := out[table+sectionSize*(len(f.Sections)+i):][:sectionSize]
		clear(h)
		copy(h, s.Name)
		binary.LittleEndian.PutUint32(h[8:], uint32(len(s.Data)))
		binary.LittleEndian.PutUint32(h[12:], va)
		binary.LittleEndian.PutUint32(h[16:], raw)
		binary.LittleEndian.PutUint32(h[20:], uint32(len(out)))
		binary.LittleEndian.PutUint32(h[36:], characteristics)
		out = pad(append(out, s.Data...), int(opt.FileAlignment))
		next = va + uint32(len(s.Data))
		added += raw
	}
	binary.LittleEndian.PutUint16(out[sig+numSectionsAt:], uint16(len(f.Sections)+len(sections)))
	binary.LittleEndian.PutUint32(out[optAt+sizeOfInitDataAt:], opt.SizeOfInitializedData+added)
	binary.LittleEndian.PutUint32(out[optAt+sizeOfImageAt:], align(next, opt.SectionAlignment))
	return out, nil
}

// firstRaw is where the first section's bytes begin: headers end there.
func firstRaw(f *pe.File) uint32 {
	first := ^uint32(0)
	for _, s := range f.Sections {
		if s.Size > 0 {
			first = min(first, s.Offset)
		}
	}
	return first
}

func virtualEnd(f *pe.File) uint32 {
	end := uint32(0)
	for _, s := range f.Sections {
		end = max(end, s.VirtualAddress+max(s.VirtualSize, s.Size))
	}
	return end
}

func align(n, to uint32) uint32 { return (n + to - 1) / to * to }

func pad(b []byte, to int) []byte { return append(b, make([]byte, (to-len(b)%to)%to)...) }
