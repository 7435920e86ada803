package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// routing is what netd needs and its user may not set. Nothing is forwarded before
// netd has put its firewall in force: until then no port has an address. It is set
// first, as turning forwarding on resets what the kernel thinks a router wants.
var routing = [][2]string{
	{"net.ipv4.ip_forward", "1"},
	// Answers may come in by an uplink that is not the one in use.
	{"net.ipv4.conf.all.rp_filter", "2"},
	// Connections are spread over uplinks by their ports too, not by who talks to whom.
	{"net.ipv4.fib_multipath_hash_policy", "1"},
	// An address that goes must not take others of its network along.
	{"net.ipv4.conf.all.promote_secondaries", "1"},
	// netd reads router advertisements itself: a kernel that forwards takes none.
	{"net.ipv6.conf.all.forwarding", "1"},
	{"net.ipv6.conf.default.forwarding", "1"},
	// An address is answered for by the port that has it, and no other.
	{"net.ipv4.conf.all.arp_ignore", "1"},
	{"net.ipv4.conf.all.arp_announce", "2"},
	{"net.ipv4.tcp_syncookies", "1"},
}

// hardening is what no program of the box needs and an intruder would like.
var hardening = [][2]string{
	{"kernel.kptr_restrict", "2"},
	{"kernel.dmesg_restrict", "1"},
	{"kernel.kexec_load_disabled", "1"},
	{"kernel.unprivileged_bpf_disabled", "1"},
	{"kernel.perf_event_paranoid", "3"},
	{"kernel.yama.ptrace_scope", "3"},
	{"kernel.sysrq", "0"},
	{"kernel.panic_on_oops", "1"}, // a wounded kernel must not write to the data partition
	{"kernel.core_pattern", "|/bin/false"},
	{"net.core.bpf_jit_harden", "2"},
	{"fs.protected_symlinks", "1"},
	{"fs.protected_hardlinks", "1"},
	{"fs.protected_fifos", "2"},
	{"fs.protected_regular", "2"},
	{"fs.suid_dumpable", "0"},
	{"user.max_user_namespaces", "0"},
	{"net.ipv4.conf.all.accept_redirects", "0"},
	{"net.ipv4.conf.default.accept_redirects", "0"},
	{"net.ipv4.conf.all.send_redirects", "0"},
	{"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.conf.all.accept_source_route", "0"},
	{"net.ipv6.conf.all.accept_redirects", "0"},
	{"net.ipv6.conf.default.accept_redirects", "0"},
	{"net.ipv6.conf.all.accept_ra", "0"},
	{"net.ipv6.conf.default.accept_ra", "0"},
}

// setAll writes kernel settings below root, "/proc/sys". One that the kernel does
// not know is an error, and does not keep the others from being set.
func setAll(root string, settings [][2]string) error {
	var all []error
	for _, s := range settings {
		path := filepath.Join(root, strings.ReplaceAll(s[0], ".", "/"))
		if err := os.WriteFile(path, []byte(s[1]), 0); err != nil {
			all = append(all, fmt.Errorf("set %s: %w", s[0], err))
		}
	}
	return errors.Join(all...)
}
