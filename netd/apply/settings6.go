package apply

import (
	"fmt"
	"os"
	"path/filepath"
)

// proc6 is where the kernel's settings for IPv6 are files.
const proc6 = "/proc/sys/net/ipv6"

// Settings6 is Settings for IPv6: the kernel forwards, and leaves what routers of
// the providers say to netd, as its own client knows one default route only.
func Settings6(wans []string) []string {
	var wrong []string
	forwarding := filepath.Join(proc6, "conf/all/forwarding")
	if read(forwarding) != "1" && os.WriteFile(forwarding, []byte("1"), 0) != nil {
		wrong = append(wrong, "net/ipv6/conf/all/forwarding = 1")
	}
	for _, dev := range wans {
		// A kernel that forwards believes routers with 2 only.
		own := filepath.Join(proc6, "conf", dev, "accept_ra")
		if read(own) == "2" && os.WriteFile(own, []byte("0"), 0) != nil {
			wrong = append(wrong, fmt.Sprintf("net/ipv6/conf/%s/accept_ra = 0", dev))
		}
	}
	return wrong
}
