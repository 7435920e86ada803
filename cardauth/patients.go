package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/session"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
)

// openPatientKey reads the key of patients' pseudonyms, or makes it at the first
// start, and hands it to those who need it. Consents are kept under pseudonyms:
// with another key they would be nobody's, so one that can't be read is an error.
//
//	stop before it is durable: no pseudonym was made with it
//	stop after: the next start hands over the same
func openPatientKey(env *daemon.Env) ([]byte, error) {
	path := filepath.Join(env.Secrets, wire.PatientKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, wire.PatientKeySize)
		rand.Read(key)
		err = durable.WriteFile(path, key, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("key of patients' pseudonyms: %w", err)
	}
	if len(key) != wire.PatientKeySize {
		return nil, fmt.Errorf("key of patients' pseudonyms: got %d bytes, want %d: restore %s from a backup", len(key), wire.PatientKeySize, wire.PatientKeyFile)
	}
	if err := durable.WriteFile(filepath.Join(env.Run, wire.PatientKeyFile), key, 0o640); err != nil {
		return nil, fmt.Errorf("hand over the key of patients' pseudonyms: %w", err)
	}
	return key, nil
}

func rules(c config.Care) session.Rules {
	return session.Rules{Doctor: wire.RoleDoctor, Window: c.Window, Emergency: c.Emergency, Resume: c.Resume, PerDay: c.PerDay}
}
