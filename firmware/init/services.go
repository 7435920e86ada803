package main

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/board"
	"clinicgate/firmware/supervise"
)

// Users of the box; image/root writes the same into /etc/passwd for tools that
// want names. Each has a group of the same number.
const (
	gidClinicgate = 200
	uidNetd       = 201
	uidFailoverd  = 202
	uidCardauth   = 203
	uidSyncd      = 204
	uidPcscd      = 205
	uidConsole    = 206
	uidUpdate     = 207
	uidPanel      = 208
	gidTPM        = 209 // may use the TPM, which keeps each program's keys apart
)

// daemons have folders for state and secrets.
var daemons = []string{"netd", "failoverd", "cardauth", "syncd", "update", "panel"}

var users = map[string]int{
	"netd": uidNetd, "failoverd": uidFailoverd, "cardauth": uidCardauth, "syncd": uidSyncd,
	"update": uidUpdate, "panel": uidPanel,
}

const mebi = 1 << 20

// services is everything that runs. They start at the same time: each waits by
// itself for what it needs from the others.
func services(b *board.Board) []supervise.Spec {
	group := []int{gidClinicgate}
	withTPM := []int{gidClinicgate, gidTPM}
	return []supervise.Spec{
		{
			Name: "pcscd", Path: "/usr/sbin/pcscd", Args: []string{"--foreground"},
			UID: uidPcscd, GID: uidPcscd, ReadyFile: "/run/pcscd/pcscd.comm",
			Memory: 64 * mebi, Grace: 2 * time.Second,
		},
		{
			Name: "netd", Path: "/usr/bin/netd", UID: uidNetd, GID: uidNetd, Groups: group, Notify: true,
			Caps:   []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_TIME},
			Memory: 192 * mebi, OOM: -500,
		},
		{
			Name: "failoverd", Path: "/usr/bin/failoverd", UID: uidFailoverd, GID: uidFailoverd, Groups: group, Notify: true,
			// SYS_TIME: a backup's clock follows the master's forward.
			Caps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_TIME},
			// A late advertisement is a dead box to the other one. Its guard inherits this.
			Realtime: 10,
			Memory:   96 * mebi, OOM: -500,
		},
		{
			Name: "cardauth", Path: "/usr/bin/cardauth", UID: uidCardauth, GID: uidCardauth, Groups: withTPM, Notify: true,
			Memory: 128 * mebi,
		},
		{
			Name: "syncd", Path: "/usr/bin/syncd", UID: uidSyncd, GID: uidSyncd, Groups: withTPM, Notify: true,
			Memory: 320 * mebi, Grace: 10 * time.Second,
		},
		{
			Name: "update", Path: "/usr/bin/update", UID: uidUpdate, GID: uidUpdate, Groups: group, Notify: true,
			Memory: 128 * mebi, OOM: 200,
		},
		{
			Name: "panel", Path: "/usr/bin/panel", UID: uidPanel, GID: uidPanel, Groups: group, Notify: true,
			Caps:   []uintptr{unix.CAP_NET_BIND_SERVICE},
			Memory: 64 * mebi, OOM: 300,
		},
		{
			Name: "console", Path: "/usr/bin/gatectl", Args: []string{"console"},
			Env: []string{"TERM=vt100", "CLINICGATE_BAUD=" + strconv.Itoa(b.Console.Baud)},
			UID: uidConsole, GID: uidConsole, Groups: group, TTY: "/dev/" + b.Console.Device,
			Memory: 96 * mebi, OOM: 300, Grace: time.Second,
		},
	}
}
