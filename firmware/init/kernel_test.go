package main

import (
	"strings"
	"testing"

	"clinicgate/firmware/lab"
)

func TestKernelLine(t *testing.T) {
	for record, want := range map[string]string{
		"6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n": "[    5.140900] NET: Registered protocol family 10\n",
		"4,1,12345678901,c;late\n":     "[12345.678901] late\n",
		"nonsense":                     "",
		"6,1;":                         "",
		"6,1,x,-;":                     "",
		"6,1,99999999999999999999,-;x": "",
	} {
		if got := kernelLine([]byte(record)); got != want {
			t.Errorf("%q: got %q, want %q", record, got, want)
		}
	}
}

// The machine's own kernel has said something; a log that is not there is an error.
func TestKernelLog(t *testing.T) {
	if _, err := kernelLog(t.TempDir() + "/none"); err == nil || !strings.HasPrefix(err.Error(), "read the kernel's log: ") {
		t.Errorf("got %v", err)
	}
	lab.Require(t, lab.Root)
	if text, err := kernelLog("/dev/kmsg"); err == nil && len(text) > maxKernelLog+9<<10 {
		t.Errorf("%d bytes", len(text))
	}
}

func FuzzKernelLine(f *testing.F) {
	f.Add([]byte("6,339,5140900,-;NET: Registered"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if line := kernelLine(record); line != "" && !strings.HasSuffix(line, "\n") {
			t.Errorf("%q", line)
		}
	})
}
