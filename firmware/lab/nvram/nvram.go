// Package nvram writes variables into the memory of an emulated UEFI firmware while
// its machine is off, as that firmware would have: a lab begins with boot entries or
// Secure Boot keys in place. It adds only; a store that holds the name already is
// refused.
package nvram

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/efi"
)

// Attributes of a variable (UEFI 2.10, section 8.2.1).
const (
	Lasting = 0x01 // survives without power
	Boot    = 0x02 // boot services see it
	Runtime = 0x04 // so does the running system
	Timed   = 0x20 // changed only with a signature and a time
)

// Variable is one of the firmware's.
type Variable struct {
	Name, Vendor string
	Attributes   uint32
	Data         []byte
}

// The layout is EDK II's (MdeModulePkg/Include/Guid/VariableFormat.h): a firmware
// volume, in it a store of variables one behind the other, 0xff where none is yet.
const (
	volumeLengthAt = 48 // two bytes: how long the volume's header is
	storeHeader    = 28
	storeSizeAt    = 16
	storeFormatAt  = 20
	variableHeader = 60
	formatted      = 0x5a
	startID        = 0x55aa
	added          = 0x3f // VAR_ADDED
)

// authenticated is the store's GUID when variables carry times and counts.
var authenticated = []byte{0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92}

// Add puts variables into the store in the file.
func Add(path string, all ...Variable) error {
	image, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("firmware's memory: %w", err)
	}
	store, err := open(image)
	if err != nil {
		return fmt.Errorf("firmware's memory %s: %w", path, err)
	}
	for _, v := range all {
		if err := store.add(v); err != nil {
			return fmt.Errorf("firmware's memory %s: variable %s: %w", path, v.Name, err)
		}
	}
	return durable.WriteFile(path, image, 0o644)
}

// store is the part of the memory that has variables.
type store []byte

func open(image []byte) (store, error) {
	if len(image) < volumeLengthAt+2 {
		return nil, fmt.Errorf("got %d bytes, want a firmware volume", len(image))
	}
	at := int(binary.LittleEndian.Uint16(image[volumeLengthAt:]))
	if len(image) < at+storeHeader || !bytes.Equal(image[at:at+16], authenticated) || image[at+storeFormatAt] != formatted {
		return nil, errors.New("got no store of authenticated variables behind the volume's header")
	}
	size := int(binary.LittleEndian.Uint32(image[at+storeSizeAt:]))
	if size < storeHeader || size > len(image)-at {
		return nil, fmt.Errorf("got a store of %d bytes in %d", size, len(image)-at)
	}
	return store(image[at : at+size]), nil
}

// add writes v behind the last variable.
func (s store) add(v Variable) error {
	at := storeHeader
	for at+variableHeader <= len(s) && binary.LittleEndian.Uint16(s[at:]) == startID {
		name, data := int(binary.LittleEndian.Uint32(s[at+36:])), int(binary.LittleEndian.Uint32(s[at+40:]))
		if name < 0 || data < 0 || name+data > len(s)-at-variableHeader {
			return errors.New("the store's last variable leads out of it")
		}
		if s[at+2] == added && efi.String(s[at+variableHeader:][:name]) == v.Name {
			return errors.New("is there already")
		}
		at += align(variableHeader + name + data)
	}
	vendor, err := efi.GUID(v.Vendor)
	if err != nil {
		return err
	}
	name := efi.Text(v.Name)
	entry := make([]byte, variableHeader)
	le := binary.LittleEndian
	le.PutUint16(entry, startID)
	entry[2] = added
	le.PutUint32(entry[4:], v.Attributes)
	if v.Attributes&Timed != 0 {
		copy(entry[16:], []byte{0xea, 0x07, 1, 1}) // EFI_TIME: 1 January 2026, before any real change
	}
	le.PutUint32(entry[36:], uint32(len(name)))
	le.PutUint32(entry[40:], uint32(len(v.Data)))
	copy(entry[44:], vendor)
	entry = append(append(entry, name...), v.Data...)
	if at+align(len(entry)) > len(s) {
		return fmt.Errorf("got %d bytes, the store has %d left", len(entry), len(s)-at)
	}
	copy(s[at:], entry)
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }

// Vendors of Secure Boot's variables.
const (
	imageSecurity    = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
	secureBootEnable = "f0a30bc7-af08-4556-99c4-001009c93a44"
	customMode       = "c076ec0c-7028-4399-a072-71ee5c448b9f"
	x509Signature    = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072"
	owner            = "00000000-0000-0000-0000-000000000001" // nobody's in particular
)

// SecureBoot is the memory of a firmware that starts only what db has signed: the
// three certificates, DER, enrolled, and Secure Boot switched on.
func SecureBoot(pk, kek, db []byte) ([]Variable, error) {
	const keyAttributes = Lasting | Boot | Runtime | Timed
	all := []Variable{
		{"SecureBootEnable", secureBootEnable, Lasting | Boot, []byte{1}},
		{"CustomMode", customMode, Lasting | Boot, []byte{0}},
	}
	for _, v := range []Variable{{"PK", efi.Global, keyAttributes, pk}, {"KEK", efi.Global, keyAttributes, kek}, {"db", imageSecurity, keyAttributes, db}} {
		list, err := signatureList(v.Data)
		if err != nil {
			return nil, err
		}
		v.Data = list
		all = append(all, v)
	}
	return all, nil
}

// signatureList is an EFI_SIGNATURE_LIST with one certificate (UEFI 2.10, section
// 32.4.1).
func signatureList(cert []byte) ([]byte, error) {
	kind, err := efi.GUID(x509Signature)
	if err != nil {
		return nil, err
	}
	whose, err := efi.GUID(owner)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	out := le.AppendUint32(kind, uint32(16+12+16+len(cert)))
	out = le.AppendUint32(out, 0) // no header
	out = le.AppendUint32(out, uint32(16+len(cert)))
	return append(append(out, whose...), cert...), nil
}
