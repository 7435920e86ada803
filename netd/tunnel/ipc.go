package tunnel

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"clinicgate/netd/config"
)

func hexKey(k [32]byte) string { return hex.EncodeToString(k[:]) }

// warm is the keepalive of a hub where the site file asks for none: one that stands
// by would else be forgotten by the NATs on the way.
const warm = 25 * time.Second

// add puts hub i in. WireGuard sends a keepalive to a new peer that is to have them,
// which takes a handshake.
func (t *Tunnel) add(i int) error {
	h := t.cfg.Hubs[i]
	keepalive := t.cfg.Keepalive
	if len(t.cfg.Hubs) > 1 {
		keepalive = cmp.Or(keepalive, warm)
	}
	text := fmt.Sprintf("endpoint=%s\npersistent_keepalive_interval=%d\n", h.Endpoint, keepalive/time.Second)
	if i < len(t.keys.Preshared) && t.keys.Preshared[i] != [32]byte{} {
		text += "preshared_key=" + hexKey(t.keys.Preshared[i]) + "\n"
	}
	if i == t.hub {
		text += t.routes()
	}
	return t.set(i, text)
}

// routes is what leads all routes to a hub: WireGuard takes them from the others.
func (t *Tunnel) routes() string {
	var b strings.Builder
	b.WriteString("replace_allowed_ips=true\n")
	for _, p := range t.cfg.Routes {
		fmt.Fprintf(&b, "allowed_ip=%s\n", p)
	}
	return b.String()
}

// set changes hub i in WireGuard's configuration protocol.
func (t *Tunnel) set(i int, text string) error {
	if err := t.dev.IpcSet("public_key=" + hexKey(t.cfg.Hubs[i].PeerKey) + "\n" + text); err != nil {
		return fmt.Errorf("set up peer %s of tunnel %s: %w", t.cfg.Hubs[i].Endpoint, t.cfg.Name, err)
	}
	return nil
}

// Status is what the session with one hub says of itself.
type Status struct {
	Handshake time.Time // the last; zero: none yet
	Endpoint  string    // where the hub was heard from last
	Rx, Tx    uint64    // bytes
}

func (t *Tunnel) status() ([]Status, error) {
	text, err := t.dev.IpcGet()
	if err != nil {
		return nil, fmt.Errorf("ask tunnel %s: %w", t.cfg.Name, err)
	}
	return parseStatus(text, t.cfg.Hubs), nil
}

// parseStatus reads the hubs' parts of WireGuard's configuration protocol.
func parseStatus(text string, hubs []config.Hub) []Status {
	all := make([]Status, len(hubs))
	st := &Status{} // of no hub: before the first
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		n, _ := strconv.ParseUint(value, 10, 63)
		switch key {
		case "public_key":
			st = &Status{}
			for i, h := range hubs {
				if hexKey(h.PeerKey) == value {
					st = &all[i]
				}
			}
		case "endpoint":
			st.Endpoint = value
		case "last_handshake_time_sec":
			if n != 0 {
				st.Handshake = time.Unix(int64(n), 0)
			}
		case "last_handshake_time_nsec":
			if !st.Handshake.IsZero() {
				st.Handshake = st.Handshake.Add(time.Duration(n))
			}
		case "rx_bytes":
			st.Rx = n
		case "tx_bytes":
			st.Tx = n
		}
	}
	return all
}

// ReadKey reads a WireGuard key: 32 bytes in base64, as `wg genkey` and `wg genpsk`
// write.
func ReadKey(path string) (key [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("read tunnel key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return key, fmt.Errorf("read tunnel key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) {
		return key, errors.New("read tunnel key: " + path + ": want 44 characters of base64, as wg genkey writes them")
	}
	return [32]byte(raw), nil
}
