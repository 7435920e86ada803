package main

// debs are Debian's part of the image, beside the board's kernel.
var debs = []string{
	"systemd-boot-efi", // the EFI stub
	"pcscd", "libccid", "libpcsclite1", "libusb-1.0-0", "libudev1", "libsystemd0", "libcap2", "libgcrypt20", "libgpg-error0",
	"liblzma5", "libzstd1", "liblz4-1",
	"libc6", "libgcc-s1", "gcc-12-base", // the last holds libgcc's licence
	"e2fsprogs", "libext2fs2", "libcom-err2", "libblkid1", "libuuid1",
	"iptables", "libxtables12", "libmnl0", "libnftnl11", "libip4tc2", "libip6tc2",
}

// item is a file or folder of a package that goes onto the box.
type item struct {
	deb, path string
	to        string // empty: the same path
}

// debFiles are those named one by one; libraries follow from them.
var debFiles = []item{
	{deb: "pcscd", path: "usr/sbin/pcscd"},
	{deb: "libccid", path: "usr/lib/pcsc/drivers/ifd-ccid.bundle"},
	{deb: "libccid", path: "etc/libccid_Info.plist"},
	{deb: "libgcc-s1", path: "lib/x86_64-linux-gnu/libgcc_s.so.1"}, // pthread_cancel loads it by name
	{deb: "libc6", path: "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", to: "usr/lib64/ld-linux-x86-64.so.2"},
	{deb: "e2fsprogs", path: "sbin/e2fsck"},
	{deb: "iptables", path: "usr/sbin/xtables-nft-multi"},
}

// matches are iptables' extensions that netd's firewall uses, each a library of
// its own below usr/lib/TRIPLET/xtables.
var matches = []string{
	"libxt_standard", "libxt_tcp", "libxt_udp", "libxt_conntrack", "libxt_state", "libxt_multiport", "libxt_mark", "libxt_connmark",
	"libxt_MARK", "libxt_CONNMARK", "libxt_comment", "libxt_TCPMSS", "libxt_addrtype", "libxt_limit", "libxt_MASQUERADE",
	"libxt_dscp", "libxt_CLASSIFY",
	"libxt_SNAT", "libxt_DNAT", "libxt_NFLOG", "libxt_LOG", "libipt_icmp", "libipt_REJECT", "libip6t_icmp6", "libip6t_REJECT",
	"libxt_hashlimit", "libxt_connlimit", "libxt_CT", "libxt_SYNPROXY", "libip6t_hl", "libip6t_rt",
}

// links are names that programs go by.
var links = [][2]string{
	{"xtables-nft-multi", "usr/sbin/iptables"},
	{"xtables-nft-multi", "usr/sbin/iptables-restore"},
	{"xtables-nft-multi", "usr/sbin/iptables-save"},
	{"xtables-nft-multi", "usr/sbin/ip6tables"},
	{"xtables-nft-multi", "usr/sbin/ip6tables-restore"},
	{"xtables-nft-multi", "usr/sbin/ip6tables-save"},
}

// program is one of ours.
type program struct {
	name, dir, to string
	cgo           bool
}

var programs = []program{
	{name: "init", dir: "firmware/init", to: "usr/sbin/init"},
	{name: "gatectl", dir: "firmware/gatectl", to: "usr/bin/gatectl"},
	{name: "netd", dir: "netd", to: "usr/bin/netd"},
	{name: "failoverd", dir: "failoverd", to: "usr/bin/failoverd"},
	{name: "cardauth", dir: "cardauth", to: "usr/bin/cardauth", cgo: true},
	{name: "syncd", dir: "syncd", to: "usr/bin/syncd"},
	{name: "panel", dir: "firmware/panel", to: "usr/bin/panel"},
	{name: "update", dir: "firmware/update", to: "usr/bin/update"},
}

// etc is the box's whole configuration that is not the site's. Numbers of users
// are those firmware/init starts the services with.
var etc = map[string]string{
	"passwd": `root:x:0:0:root:/:/usr/sbin/nologin
netd:x:201:201::/:/usr/sbin/nologin
failoverd:x:202:202::/:/usr/sbin/nologin
cardauth:x:203:203::/:/usr/sbin/nologin
syncd:x:204:204::/:/usr/sbin/nologin
pcscd:x:205:205::/:/usr/sbin/nologin
console:x:206:206::/:/usr/sbin/nologin
update:x:207:207::/:/usr/sbin/nologin
panel:x:208:208::/:/usr/sbin/nologin
nobody:x:65534:65534::/:/usr/sbin/nologin
`,
	"group": `root:x:0:
clinicgate:x:200:netd,failoverd,cardauth,syncd,console,update,panel
netd:x:201:
failoverd:x:202:
cardauth:x:203:
syncd:x:204:
pcscd:x:205:
console:x:206:
update:x:207:
panel:x:208:
nogroup:x:65534:
`,
	"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	"hosts":         "127.0.0.1 localhost\n::1 localhost\n",
	"mke2fs.conf":   "",
	"e2fsck.conf":   "[options]\n\tbroken_system_clock = true\n", // a dead clock battery is no damage
}
