package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/proc"
)

// A keeper is Debian's keepalived with conntrackd beside it, set up as their
// documents have it for sub-second VRRPv3 and two sides that move together.
// conntrackd puts connections into the kernel at once, which loses fewer than its
// external cache does.
type keeper struct {
	x     *crossing
	procs map[*gateway]*proc.Proc
}

func newKeeper(x *crossing, interval time.Duration) contender {
	lab.Require(x.t, lab.Program("keepalived", "conntrackd"))
	k := &keeper{x, map[*gateway]*proc.Proc{}}
	for i, g := range []*gateway{x.a, x.b} {
		instance := func(dev string, vrid int, addr string) string {
			return fmt.Sprintf("vrrp_instance %s {\n state BACKUP\n nopreempt\n interface %[1]s\n virtual_router_id %d\n priority 100\n advert_int %v\n virtual_ipaddress {\n  %s/24\n }\n}\n",
				dev, vrid, interval.Seconds(), addr)
		}
		conf := "global_defs {\n vrrp_version 3\n}\nvrrp_sync_group both {\n group {\n  lan\n  wan1\n }\n}\n" +
			instance("lan", 20, shared) + instance("wan1", 21, outside)
		x.check(os.WriteFile(g.file("keepalived.conf"), []byte(conf), 0o600))
		x.check(os.WriteFile(g.file("conntrackd.conf"), fmt.Appendf(nil, conntrackdConf, 2+i, 3-i, g.file("ct.lock"), g.file("ct.sock"), 2+i, 2+i, 2+i), 0o600))
		_, err := proc.Start(proc.Spec{Name: "conntrackd", Space: g.space, Log: g.file("conntrackd.log"), Args: []string{"conntrackd", "-C", g.file("conntrackd.conf")}})
		x.check(err)
	}
	return k
}

func (g *gateway) file(name string) string { return filepath.Join(g.dir, name) }

// conntrackdConf wants the box's number and the other's, the lock, the socket, and
// the box's own addresses.
const conntrackdConf = `Sync {
	Mode FTFW {
		DisableExternalCache On
		ResendQueueSize 131072
		PurgeTimeout 60
		ACKWindowSize 300
	}
	UDP {
		IPv4_address 10.77.0.%d
		IPv4_Destination_Address 10.77.0.%d
		Port 3780
		Interface ha
		SndSocketBuffer 1249280
		RcvSocketBuffer 1249280
		Checksum on
	}
}
General {
	HashSize 32768
	HashLimit 131072
	LogFile off
	Syslog off
	LockFile %s
	UNIX {
		Path %s
	}
	NetlinkBufferSize 2097152
	NetlinkBufferSizeMaxGrowth 8388608
	Filter From Userspace {
		Protocol Accept {
			TCP
			UDP
		}
		Address Ignore {
			IPv4_address 127.0.0.1
			IPv4_address 10.20.0.%d
			IPv4_address 192.0.2.%d
			IPv4_address 10.77.0.%d
		}
	}
}
`

func (k *keeper) start(g *gateway) {
	if was := k.procs[g]; was != nil {
		was.Stop(5 * time.Second) // it takes a second for that
		os.Remove(g.file("pid"))
		os.Remove(g.file("vrrp.pid"))
		// A killed one leaves its addresses, and the next keeps them though it is backup.
		for dev, addr := range map[string]string{"lan": shared, "wan1": outside} {
			proc.Run(k.x.t.Context(), g.space, "ip", "addr", "del", addr+"/24", "dev", dev)
		}
	}
	p, err := proc.Start(proc.Spec{Name: "keepalived", Space: g.space, Log: g.file("keepalived.log"), Args: []string{
		"keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file", g.file("keepalived.conf"),
		"--pid", g.file("pid"), "--vrrp_pid", g.file("vrrp.pid"),
	}})
	k.x.check(err)
	k.procs[g] = p
	k.x.t.Cleanup(p.Kill)
}

// kill ends the program that advertises and the one that would start it again.
func (k *keeper) kill(g *gateway) {
	p := k.procs[g]
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
	var pids []int
	for _, file := range children {
		text, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	p.Signal(syscall.SIGSTOP) // or it tells its child to leave in good order
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	p.Kill()
}

func (k *keeper) stop(g *gateway) { k.x.check(k.procs[g].Signal(syscall.SIGTERM)) }

func (k *keeper) changes(g *gateway) int {
	out, err := os.ReadFile(g.file("keepalived.log"))
	k.x.check(err)
	return strings.Count(string(out), "(lan) Entering MASTER STATE")
}
