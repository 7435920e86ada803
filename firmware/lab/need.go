// Package lab builds small real worlds for tests: network namespaces, links that
// can be cut, slowed and made lossy, virtual machines, and the parts nobody here
// wrote. It is imported by tests and by the clinic in a box only.
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A Need is something a test can't do without: nil when it is there, otherwise
// an error that says what is missing and how to get it.
type Need func() error

// Require skips tb unless all its needs are met. With CLINICGATE_LAB=require it
// fails instead: a lab that should run must not stay silent.
func Require(tb testing.TB, needs ...Need) {
	tb.Helper()
	var missing []error
	for _, need := range needs {
		if err := need(); err != nil {
			missing = append(missing, err)
		}
	}
	err := errors.Join(missing...)
	switch {
	case err == nil:
	case os.Getenv("CLINICGATE_LAB") == "require":
		tb.Fatalf("lab: %v", err)
	default:
		tb.Skipf("lab: %v (a failure under CLINICGATE_LAB=require)", err)
	}
}

// Root is the need to make network namespaces and devices.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("root: run the tests as root, or with sudo")
	}
	return nil
}

// Program is the need for programs in PATH or the sbin folders.
func Program(names ...string) Need {
	return func() error {
		var missing []string
		for _, name := range names {
			if _, err := exec.LookPath(name); err != nil {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("%s: not found; `make deps` installs what the labs use", strings.Join(missing, ", "))
		}
		return nil
	}
}
