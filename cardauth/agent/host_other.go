//go:build !linux

package main

import "errors"

// forbidDumps has nothing to forbid: neither system writes them by itself.
func forbidDumps() error { return nil }

// quiet can't turn an echo off here: the PIN is asked for by -askpass.
func quiet() (func(), error) { return nil, errors.ErrUnsupported }
