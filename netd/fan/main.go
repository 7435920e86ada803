// Command fan stands before a stock WireGuard at the hub and sends each of its
// datagrams for a box to every address that the box is reached by, as the box does
// towards the hub. The WireGuard behind it, in the kernel or not, is unchanged and
// sees each box at one address of the loopback network; a client without notices
// passes through as by a NAT.
//
//	fan -listen 192.0.2.1:51820 -hub 127.0.0.1:51821 -key hub.key -peers wg0.conf
//
// It runs at the hub, not on the box.
//
//go:debug multipathtcp=0
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"clinicgate/netd/notice"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "fan:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fan", flag.ContinueOnError)
	listen := flags.String("listen", ":51820", "public UDP `address`, IPv4")
	hub := flags.String("hub", "127.0.0.1:51821", "`address` of the WireGuard behind")
	keyFile := flags.String("key", "", "`file` with the hub's private key, as wg genkey writes it")
	peers := flags.String("peers", "", "`file` with the boxes' public keys: WireGuard's configuration, or one a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	keys, err := readKeys(*keyFile, *peers)
	if err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(*hub)
	if err != nil || !at.Addr().Is4() {
		return fmt.Errorf("-hub: got %q, want an IPv4 address and port", *hub)
	}
	c, err := net.ListenPacket("udp4", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("ready", "listen", c.LocalAddr(), "hub", at, "boxes", len(keys))
	return newFan(c.(*net.UDPConn), at, keys, log).serve(ctx)
}

// readKeys derives the key of each box.
func readKeys(keyFile, peers string) ([]notice.Key, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("read -key: %w", err)
	}
	private, err := parseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("read -key %s: %w", keyFile, err)
	}
	f, err := os.Open(peers)
	if err != nil {
		return nil, fmt.Errorf("read -peers: %w", err)
	}
	defer f.Close()
	var keys []notice.Key
	for lines, n := bufio.NewScanner(f), 1; lines.Scan(); n++ {
		value, ok := publicKey(lines.Text())
		if !ok {
			continue
		}
		public, err := parseKey(value)
		if err != nil {
			return nil, fmt.Errorf("read -peers %s:%d: %w", peers, n, err)
		}
		k, err := notice.NewKey(private, public)
		if err != nil {
			return nil, fmt.Errorf("read -peers %s:%d: %w", peers, n, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read -peers %s: got no public key, want one for each box", peers)
	}
	return keys, nil
}

// publicKey returns the key in a line of WireGuard's configuration, or in one that
// holds nothing else.
func publicKey(line string) (string, bool) {
	line, _, _ = strings.Cut(line, "#")
	name, value, setting := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case !setting && len(name) == 44:
		return name, true
	case strings.EqualFold(name, "PublicKey"):
		return strings.TrimSpace(strings.TrimLeft(value, "= ")), true
	case strings.HasPrefix(strings.ToLower(name), "publickey="):
		return name[len("publickey="):], true
	}
	return "", false
}

var errKey = errors.New("want 44 characters of base64, as wg genkey writes them")

func parseKey(text string) (k [32]byte, err error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != len(k) {
		return k, errKey
	}
	return [32]byte(raw), nil
}
