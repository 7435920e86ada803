package uevent

import (
	"context"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// As a kernel 6.1 sent it for QEMU's usb-ccid.
const reader = "add@/devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0\x00ACTION=add\x00DEVPATH=/devices/pci0000:00/0000:00:04.0/usb1/1-1/1-1:1.0\x00" +
	"SUBSYSTEM=usb\x00DEVTYPE=usb_interface\x00PRODUCT=8e6/4433/0\x00TYPE=0/0/0\x00INTERFACE=11/0/0\x00SEQNUM=1234\x00"

func TestParse(t *testing.T) {
	e, ok := Parse([]byte(reader))
	if !ok || e["ACTION"] != "add" || e["SUBSYSTEM"] != "usb" || e["INTERFACE"] != "11/0/0" || e["SEQNUM"] != "1234" {
		t.Errorf("got %v, %v", e, ok)
	}
	for name, message := range map[string]string{
		"empty": "", "from a udev daemon": "libudev\x00\xfe\xed\xca\xfe", "no path": "add@\x00A=b\x00", "no end": "add@/devices/x", "no action": "@/x\x00",
	} {
		if e, ok := Parse([]byte(message)); ok {
			t.Errorf("%s: got %v", name, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(reader))
	f.Add([]byte("change@/x\x00=\x00K=\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if e, ok := Parse(message); ok && (e["ACTION"] == "" || e["DEVPATH"] == "") {
			t.Errorf("got %v", e)
		}
	})
}

func TestListenEnds(t *testing.T) {
	lab.Require(t, lab.Root)
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, func(Event) {}) }()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still listening")
	}
}
