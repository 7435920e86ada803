package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/image/lab/clinic"
)

// play plays the morning in a clinic of the test's own.
func play(t *testing.T, o options, needs ...lab.Need) {
	t.Helper()
	root, err := clinic.Root()
	if err != nil {
		t.Fatal(err)
	}
	lab.Require(t, append(needs, clinic.Needs(root)...)...)
	var out strings.Builder
	l, err := build(context.Background(), root, fmt.Sprintf("t%d", os.Getpid()), o, &out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("logs are in %s", l.clinic.Dir)
		} else {
			os.RemoveAll(l.clinic.Dir)
		}
	}()
	err = l.morning.Play(context.Background())
	t.Log("\n" + out.String())
	if err != nil {
		t.Error(err)
	}
}

// TestMorningInNamespaces is the morning with the box's programs in a namespace.
func TestMorningInNamespaces(t *testing.T) {
	play(t, options{gateway: "namespace"}, lab.Program("pcscd"))
}

// TestPairMorningInNamespaces is the morning with two boxes, one of which loses its
// power.
func TestPairMorningInNamespaces(t *testing.T) {
	play(t, options{gateway: "namespace", pair: true}, lab.Program("pcscd"))
}

// TestMorningInQEMU is the morning with the box as it ships.
func TestMorningInQEMU(t *testing.T) {
	if testing.Short() {
		t.Skip("boots the image twice")
	}
	t.Attr("boots", "image")
	play(t, options{gateway: "image"}, lab.Program(qemu.Programs...), lab.Program("swtpm"))
}
