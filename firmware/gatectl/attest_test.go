package main

import _ "embed"

// evidence is a software TPM's, for the nonce 07 sixteen times.
//
//go:embed testdata/evidence.json
var evidence []byte
