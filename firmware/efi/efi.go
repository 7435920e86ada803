// Package efi knows the bytes of the firmware's boot variables (UEFI
// Specification 2.10, sections 3.1 and 10.3): load options, boot order and device
// paths. What it encodes it decodes to the same, and nothing foreign makes it
// read beyond what is there.
package efi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Global is the vendor of the boot variables.
const Global = "8be4df61-93ca-11d2-aa0d-00e098032b8c"

// Loader is the vendor of systemd's boot loader interface, which the EFI stub of
// a unified kernel image speaks.
const Loader = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// active marks a load option that the boot order may start.
const active = 1

// Option is a load option (EFI_LOAD_OPTION): a file on a partition.
type Option struct {
	Description string
	Partition   Partition
	Path        string // on the partition, with slashes
}

// Partition is a hard drive device path node (section 10.3.5.1). The firmware
// finds the partition by its GUID; the rest only saves it looking.
type Partition struct {
	Number      uint32
	Start, Size uint64 // in blocks of the disk
	GUID        string // as the GPT has it
}

// Types and subtypes of device path nodes.
const (
	mediaType = 0x04
	hardDrive = 0x01
	filePath  = 0x04
	endType   = 0x7f
	endWhole  = 0xff
	byGUID    = 2 // both the partition table's and the signature's kind
)

// Marshal encodes the option, as the content of a Boot#### variable.
func (o Option) Marshal() ([]byte, error) {
	guid, err := GUID(o.Partition.GUID)
	if err != nil {
		return nil, err
	}
	var drive bytes.Buffer
	le := binary.LittleEndian
	drive.Write(le.AppendUint32(nil, o.Partition.Number))
	drive.Write(le.AppendUint64(nil, o.Partition.Start))
	drive.Write(le.AppendUint64(nil, o.Partition.Size))
	drive.Write(guid)
	drive.Write([]byte{byGUID, byGUID})
	path := slices.Concat(
		node(mediaType, hardDrive, drive.Bytes()),
		node(mediaType, filePath, Text(strings.ReplaceAll(o.Path, "/", `\`))),
		node(endType, endWhole, nil))
	out := le.AppendUint32(nil, active)
	out = le.AppendUint16(out, uint16(len(path)))
	out = append(out, Text(o.Description)...)
	return append(out, path...), nil
}

func node(kind, sub byte, data []byte) []byte {
	n := binary.LittleEndian.AppendUint16([]byte{kind, sub}, uint16(4+len(data)))
	return append(n, data...)
}

// Unmarshal decodes a Boot#### variable. Options of other shapes, such as network
// boot, keep their description and have an empty Path.
func Unmarshal(data []byte) (Option, error) {
	var o Option
	if len(data) < 6 {
		return o, fmt.Errorf("load option: got %d bytes, want 6 or more", len(data))
	}
	pathLen := int(binary.LittleEndian.Uint16(data[4:]))
	text, rest, err := cutText(data[6:])
	if err != nil {
		return o, fmt.Errorf("load option: description: %w", err)
	}
	if len(rest) < pathLen {
		return o, fmt.Errorf("load option: got %d bytes of device path, want %d", len(rest), pathLen)
	}
	o.Description = text
	return o, o.readPath(rest[:pathLen])
}

func (o *Option) readPath(path []byte) error {
	for len(path) >= 4 {
		kind, sub, n := path[0], path[1], int(binary.LittleEndian.Uint16(path[2:]))
		if n < 4 || n > len(path) {
			return fmt.Errorf("load option: device path node of %d bytes, %d are left", n, len(path))
		}
		data := path[4:n]
		path = path[n:]
		switch {
		case kind == endType:
			return nil
		case kind == mediaType && sub == hardDrive && len(data) == 38:
			le := binary.LittleEndian
			o.Partition = Partition{le.Uint32(data), le.Uint64(data[4:]), le.Uint64(data[12:]), guidText(data[20:36])}
		case kind == mediaType && sub == filePath:
			text, _, err := cutText(data)
			if err != nil {
				return fmt.Errorf("load option: file path: %w", err)
			}
			o.Path = strings.ReplaceAll(text, `\`, "/")
		}
	}
	return nil
}

// Text encodes a string as the firmware wants it: UTF-16 with a zero.
func Text(s string) []byte {
	var out []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// String decodes what Text encoded; a missing zero is no fault.
func String(data []byte) string {
	text, _, err := cutText(append(bytes.Clone(data), 0, 0))
	if err != nil {
		return ""
	}
	return text
}

func cutText(data []byte) (text string, rest []byte, err error) {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		u := binary.LittleEndian.Uint16(data)
		if u == 0 {
			return string(utf16.Decode(units)), data[2:], nil
		}
		units = append(units, u)
	}
	return "", nil, fmt.Errorf("text without an end")
}

// Order encodes numbers of Boot#### variables: BootOrder, or with one BootNext.
func Order(numbers ...uint16) []byte {
	var out []byte
	for _, n := range numbers {
		out = binary.LittleEndian.AppendUint16(out, n)
	}
	return out
}

// Numbers decodes what Order encoded; half a number at the end is left out.
func Numbers(data []byte) []uint16 {
	var all []uint16
	for ; len(data) >= 2; data = data[2:] {
		all = append(all, binary.LittleEndian.Uint16(data))
	}
	return all
}

// Promote puts numbers first in an order, without saying any twice.
func Promote(order []uint16, numbers ...uint16) []uint16 {
	out := slices.Clone(numbers)
	for _, n := range order {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// GUID encodes one, whose first three fields are little-endian.
func GUID(text string) ([]byte, error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != 16 {
		return nil, fmt.Errorf("GUID: got %.50q, want 32 hexadecimal digits", text)
	}
	return swapped(raw), nil
}

func guidText(raw []byte) string {
	b := swapped(raw)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func swapped(b []byte) []byte {
	out := bytes.Clone(b)
	slices.Reverse(out[0:4])
	slices.Reverse(out[4:6])
	slices.Reverse(out[6:8])
	return out
}
