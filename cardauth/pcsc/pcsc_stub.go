//go:build !cgo && !windows

package pcsc

import (
	"context"
	"errors"
	"fmt"
)

// A Card is never made without cgo.
type Card struct{}

// Watch says that this build has no PC/SC.
func Watch(context.Context, func([]State)) error { return unsupported() }

// Connect says that this build has no PC/SC.
func Connect(string) (*Card, error) { return nil, unsupported() }

// Transmit says that this build has no PC/SC.
func (*Card) Transmit([]byte) ([]byte, error) { return nil, unsupported() }

// Close does nothing.
func (*Card) Close() {}

func unsupported() error { return fmt.Errorf("pcsc built without cgo: %w", errors.ErrUnsupported) }

// HasPad says no.
func (*Card) HasPad() bool { return false }

// VerifyOnPad says that this build has no PC/SC.
func (*Card) VerifyOnPad([]byte) ([]byte, error) { return nil, unsupported() }
