// Command reflector answers STAMP (RFC 8762) at the hub: it sends each test packet
// back with the times at which it came and left, and with its own count, so that a
// clinic's box knows in which direction packets are lost. It answers with as many
// bytes as it got, once each, and holds a bounded number of sessions.
//
//go:debug multipathtcp=0
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"clinicgate/netd/probe"
)

func main() {
	listen := flag.String("listen", ":862", "UDP `address` to answer at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, *listen)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reflector:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string) error {
	conn, err := net.ListenPacket("udp4", listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return probe.Reflect(conn.(*net.UDPConn))
}
