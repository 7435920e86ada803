package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/swtpm"
	"clinicgate/firmware/tpm"
)

var nonce = bytes.Repeat([]byte{7}, NonceSize)

// evidence is a software TPM's.
func evidence(t *testing.T) Evidence {
	t.Helper()
	chip := tpm.NewChip(swtpm.Start(t, t.TempDir()))
	w, err := tpm.NewWitness(chip)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	e := Evidence{V: 1, Board: "qemu-x86_64", Release: "1.2.3", Slot: "a", Nonce: nonce, PCRs: PCRs()}
	if e.Key, err = w.Public().Bytes(); err != nil {
		t.Fatal(err)
	}
	s, err := chip.ReadState(e.PCRs)
	if err != nil {
		t.Fatal(err)
	}
	e.Values = s.Values
	if e.Said, e.Signed, err = w.Quote(e.About(), e.PCRs); err != nil {
		t.Fatal(err)
	}
	return e
}

// What a TPM said passes, and nothing else: not with one thing in it changed, not for
// another question, not signed by another key.
func TestVerify(t *testing.T) {
	good := evidence(t)
	if err := good.Verify(nonce); err != nil {
		t.Fatal(err)
	}
	if err := good.Verify(bytes.Repeat([]byte{8}, NonceSize)); err == nil {
		t.Error("an answer to another question")
	}
	forger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := forger.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(e *Evidence) {
		sum := sha256.Sum256(e.Said)
		if e.Signed, err = ecdsa.SignASN1(rand.Reader, forger, sum[:]); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(e *Evidence){
		"version":         func(e *Evidence) { e.V = 2 },
		"release":         func(e *Evidence) { e.Release = "1.2.4" },
		"slot":            func(e *Evidence) { e.Slot = "b" },
		"board":           func(e *Evidence) { e.Board = "other" },
		"register":        func(e *Evidence) { e.Values[4] = make([]byte, 32); e.Values[4][0] = 1 },
		"registers":       func(e *Evidence) { e.PCRs = []int{0, 2, 4, 7, 12} },
		"fewer":           func(e *Evidence) { e.PCRs, e.Values = e.PCRs[:4], e.Values[:4] },
		"a value less":    func(e *Evidence) { e.Values = e.Values[:4] },
		"another's key":   func(e *Evidence) { e.Key = point; sign(e) }, // the TPM's words, signed by software
		"no signature":    func(e *Evidence) { e.Signed = nil },
		"no quote":        func(e *Evidence) { e.Said = nil },
		"bent":            func(e *Evidence) { e.Said[20] ^= 1 },
		"no quote at all": func(e *Evidence) { e.Key, e.Said = point, []byte("text"); sign(e) },
	} {
		e := good
		e.Values, e.Said = slices.Clone(good.Values), bytes.Clone(good.Said)
		if spoil(&e); e.Verify(nonce) == nil {
			t.Errorf("%s: passed", name)
		}
	}
}

// The registers' expected value, held against the arithmetic by hand: two extends for
// each section, in the stub's order, whatever the file's.
func TestKernel(t *testing.T) {
	const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub" // of systemd-boot-efi
	lab.Require(t, lab.Program("objcopy"), func() error { _, err := os.Stat(stub); return err })
	dir := t.TempDir()
	args, want := []string{}, make([]byte, 32)
	contents := map[string]string{".linux": "the kernel", ".osrel": "ID=x", ".cmdline": "quiet", ".initrd": strings.Repeat("i", 5000), ".pcrsig": "{}"}
	for i, name := range []string{".osrel", ".pcrsig", ".linux", ".initrd", ".cmdline"} {
		file := filepath.Join(dir, name[1:])
		if err := os.WriteFile(file, []byte(contents[name]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--add-section", name+"="+file, "--change-section-vma", name+"=0x"+[]string{"2000000", "2100000", "2200000", "2300000", "2400000"}[i])
	}
	for _, name := range []string{".linux", ".osrel", ".cmdline", ".initrd"} {
		for _, text := range []string{name + "\x00", contents[name]} {
			sum := sha256.Sum256([]byte(text))
			next := sha256.Sum256(append(want, sum[:]...))
			want = next[:]
		}
	}
	image := filepath.Join(dir, "image.efi")
	if out, err := exec.Command("objcopy", append(args, stub, image)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := Kernel(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if _, err := Kernel(strings.NewReader("MZ")); err == nil {
		t.Error("a kernel image of two bytes")
	}
}

func FuzzQuote(f *testing.F) {
	b := binary.BigEndian.AppendUint32(nil, generated)
	b = binary.BigEndian.AppendUint16(b, typeQuote)
	b = append(b, 0, 0, 0, 1, 9)
	b = append(append(b, make([]byte, 25)...), selected(PCRs())...)
	f.Add(append(b, 0, 1, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := read(b); err == nil && len(q.pcrs) != 10 {
			t.Fatalf("got %+v", q)
		}
	})
}
