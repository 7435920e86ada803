package board

// QEMUx86_64 is QEMU's q35 machine as the labs start it: a board like any other,
// so that every lab boots the image that ships. PCI addresses are ours to choose
// (-device virtio-net-pci,addr=…); 0x10 and up stay clear of what q35 places.
//
// https://www.qemu.org/docs/master/system/i386/pc.html
var QEMUx86_64 = Board{
	Name:   "qemu-x86_64",
	Arch:   "amd64",
	Kernel: "linux-image-amd64",
	Ports: []Port{
		{Role: "wan1", Bus: "0000:00:10.0"},
		{Role: "wan2", Bus: "0000:00:11.0"},
		{Role: "lan", Bus: "0000:00:12.0"},
		{Role: "ha", Bus: "0000:00:13.0"},
	},
	Console:  Console{Device: "ttyS0", Baud: 115200},
	Watchdog: Watchdog{Driver: "i6300esb", Limit: 30},
	// The machine's keyboard stands for the front: two of its lights, and F12 (QMP
	// send-key with a hold-time). Drivers of both are built into Debian's kernel.
	Lamp:   Lamp{Good: "*::numlock", Bad: "*::scrolllock"},
	Button: Button{Device: "AT Translated Set 2 keyboard", Code: 88},
	TPM:    "tpm_crb", // built into Debian's kernel
	Modules: Modules{
		Initrd: []string{"virtio_pci", "virtio_blk", "crc32c_generic", "dm_verity", "erofs"},
		System: []string{
			"i6300esb nowayout=1 heartbeat=30",
			"virtio_net", "ext4",
			"nls_cp437", "nls_ascii", "nls_utf8", "vfat", // sticks, and kernel images of updates
			"button", "evdev", // the power button
			"xhci_pci", // card readers are driven from user space
			"tun", "macvlan", "wireguard",
			// netd's firewall, through iptables' nftables backend.
			"nf_tables", "nft_compat", "nft_chain_nat", "nft_ct", "nft_limit", "nft_log",
			"nft_reject_inet", "nft_masq", "nft_nat", "nf_conntrack_netlink",
			"xt_conntrack", "xt_tcpudp", "xt_multiport", "xt_mark", "xt_connmark", "xt_comment",
			"ip_tables", // has the icmp match; xt_tcpudp has it only from 6.4 on
			"xt_MASQUERADE", "xt_TCPMSS", "xt_addrtype", "xt_limit", "xt_nat", "ipt_REJECT",
			"xt_hashlimit", "xt_connlimit", "xt_CT", "ipt_SYNPROXY", "ip6t_SYNPROXY", "ip6t_REJECT", "xt_hl", "ip6t_rt", "ip6_tables",
			"8021q", // tagged providers and zones
			// netd's classes of traffic, and shaping.
			"xt_dscp", "xt_CLASSIFY", "sch_htb", // fq_codel is built in
		},
		Stick: []string{"usb_storage delay_use=0", "sd_mod"},
		UEFI:  []string{"efivarfs"},
	},
	Disk: Disk{ESP: 96, Root: 96, Data: 1024},
}
