package clinic

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

// wgKey is a WireGuard key pair in the form the tools want.
type wgKey struct {
	Private, Public string
}

func newWGKey() (wgKey, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return wgKey{}, err
	}
	b64 := base64.StdEncoding.EncodeToString
	return wgKey{b64(k.Bytes()), b64(k.PublicKey().Bytes())}, nil
}

// wgPeer is the far side of a tunnel.
type wgPeer struct {
	Key      string // public
	Allowed  string
	Endpoint string // empty: it calls us
}

// wireGuard brings up a tunnel device in space: stock wireguard-go, set up by
// Debian's wg as any administrator would. The device's name is unique on the
// machine, because wireguard-go's control sockets share one folder.
func (c *Clinic) wireGuard(ctx context.Context, space *netns.Space, device string, key wgKey, port string, peer wgPeer) (*proc.Proc, error) {
	p, err := c.start(proc.Spec{
		Name: device, Args: []string{c.bin("wireguard"), "-f", device}, Space: space, Env: []string{"LOG_LEVEL=verbose"},
	})
	if err != nil {
		return nil, err
	}
	if err := p.WaitLine(ctx, "UAPI listener started"); err != nil {
		return nil, err
	}
	file := filepath.Join(c.Dir, device+".key")
	if err := os.WriteFile(file, []byte(key.Private), 0o600); err != nil {
		return nil, err
	}
	args := []string{"wg", "set", device, "private-key", file, "listen-port", port, "peer", peer.Key, "allowed-ips", peer.Allowed}
	if peer.Endpoint != "" {
		args = append(args, "endpoint", peer.Endpoint, "persistent-keepalive", "5")
	}
	if _, err := proc.Run(ctx, space, args...); err != nil {
		return nil, fmt.Errorf("set up tunnel: %w", err)
	}
	return p, space.Up(device)
}

// Handshake says whether the hub has met the box.
func (c *Clinic) Handshake(ctx context.Context) (bool, error) {
	at, err := c.LastHandshake(ctx)
	return !at.IsZero(), err
}

// LastHandshake is when the hub last met the box, in whole seconds; zero: never.
func (c *Clinic) LastHandshake(ctx context.Context) (time.Time, error) {
	out, err := proc.Run(ctx, c.Hub, "wg", "show", c.hubDevice(), "latest-handshakes")
	if err != nil {
		return time.Time{}, err
	}
	fields := strings.Fields(string(out)) // the box's key and the time in seconds, 0 for never
	if len(fields) != 2 {
		return time.Time{}, fmt.Errorf("the hub knows of %q, want one peer", out)
	}
	seconds, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || seconds == 0 {
		return time.Time{}, err
	}
	return time.Unix(seconds, 0), nil
}

func (c *Clinic) hubDevice() string { return "wg-" + c.Name }

// startHub starts the cloud's end of the tunnel.
func (c *Clinic) startHub(ctx context.Context) error {
	device := c.hubDevice()
	peer := wgPeer{Key: c.keys.box.Public, Allowed: BoxInside + "/32,10.20.0.0/24"}
	if _, err := c.wireGuard(ctx, c.Hub, device, c.keys.hub, "51820", peer); err != nil {
		return err
	}
	return first(
		addr(c.Hub, device, HubInside+"/24"),
		func() error { return c.Hub.RouteDev("10.20.0.0/24", device) },
	)
}
