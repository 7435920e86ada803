package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"clinicgate/firmware/wire"
)

// tpmName is how firmware calls a TPM 2.0 (TCG ACPI Specification §8).
const tpmName = "MSFT0101:*"

// faultTPM is a TPM that the firmware has and the kernel not.
const faultTPM = "tpm.silent"

// Waits between attempts to wake a TPM: each may take its driver seconds.
const (
	tpmFirst = 2 * time.Second
	tpmMost  = time.Minute
)

// awaitTPM sees to it that services can use the TPM. A TPM may be too slow for its
// driver's patience as the box starts, after a short loss of power for one, and the
// kernel then never asks it again: what is wrapped to it would stay closed until
// somebody restarts the box.
func (b *box) awaitTPM(ctx context.Context) error {
	sys, driver := "/sys", b.cmd.board.TPM
	for pause := tpmFirst; ; pause = min(2*pause, tpmMost) {
		err := grantTPM()
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			b.faults.clear(faultTPM)
			return err
		}
		idle := idleTPM(sys)
		if driver == "" || idle == "" {
			return nil // the box has none
		}
		b.try(wire.Warning, "TPM", faultTPM, "wait; if it stays, switch the box off and on: what is wrapped to the TPM is closed until then", errors.New("the TPM did not answer its driver in time"))
		err = errors.Join(bindTPM(sys, driver, idle), linkTPM())
		b.log.Warn("the TPM is woken", "device", filepath.Base(idle), "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// grantTPM gives the TPM's node to the services that use it.
func grantTPM() error { return folder{tpmNode, 0o660, 0, gidTPM}.ensure() }

// linkTPM makes the node of a TPM that has come by another number known by the one that
// services open: the kernel may hold the first for the attempt that failed.
func linkTPM() error {
	all, err := filepath.Glob("/dev/tpmrm?")
	if err != nil || len(all) == 0 || slices.Contains(all, tpmNode) {
		return err
	}
	return os.Symlink(filepath.Base(all[0]), tpmNode)
}

// idleTPM is the folder of a TPM that no driver has taken; empty: there is none.
func idleTPM(sys string) string {
	all, err := filepath.Glob(filepath.Join(sys, "bus/*/devices", tpmName))
	if err != nil {
		return ""
	}
	taken := false
	for _, dev := range all {
		if _, err := os.Lstat(filepath.Join(dev, "driver")); err == nil {
			taken = true
		}
	}
	if taken || len(all) == 0 {
		return ""
	}
	return all[0]
}

// bindTPM has the driver try again. ACPI's devices stand on two buses, and a driver
// belongs to one of them.
func bindTPM(sys, driver, dev string) error {
	binds, err := filepath.Glob(filepath.Join(sys, "bus/*/drivers", driver, "bind"))
	if err != nil {
		return err
	}
	if len(binds) == 0 {
		return fmt.Errorf("wake the TPM: the kernel has no driver %s", driver)
	}
	var failed error
	for _, bind := range binds {
		err := os.WriteFile(bind, []byte(filepath.Base(dev)), 0)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return fmt.Errorf("wake the TPM: %w", failed)
}
