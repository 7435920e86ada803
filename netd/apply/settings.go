package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// proc is where the kernel's settings are files.
const proc = "/proc/sys/net/ipv4"

// Settings checks the kernel settings that routing between uplinks needs, puts
// right what it may, and returns what stays wrong. As another user than root netd
// may write none of them: then they are init's to set.
func Settings(wans []string) []string {
	var wrong []string
	for _, s := range []struct{ file, want string }{
		{"ip_forward", "1"},
		// Or else a new lease would take failoverd's addresses in its network along.
		{"conf/all/promote_secondaries", "1"},
		// Or else two computers would always meet by the same uplink of several.
		{"fib_multipath_hash_policy", "1"},
	} {
		if !set(s.file, s.want) {
			wrong = append(wrong, fmt.Sprintf("net/ipv4/%s = %s", s.file, s.want))
		}
	}
	for _, dev := range wans {
		if !looseFilter(dev) {
			wrong = append(wrong, fmt.Sprintf("net/ipv4/conf/%s/rp_filter = 2", dev))
		}
	}
	return wrong
}

// set reports whether the setting is or could be made as wanted.
func set(file, want string) bool {
	path := filepath.Join(proc, file)
	if read(path) == want {
		return true
	}
	return os.WriteFile(path, []byte(want), 0) == nil
}

// looseFilter makes the reverse path filter accept what comes in by an uplink that
// is not the one in use. The kernel takes the larger of the device's value and
// that of "all"; only 1, strict, is wrong. A device that is missing is fine.
func looseFilter(dev string) bool {
	own := filepath.Join(proc, "conf", dev, "rp_filter")
	got := max(read(own), read(filepath.Join(proc, "conf/all/rp_filter")))
	return got != "1" || os.WriteFile(own, []byte("2"), 0) == nil
}

func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
