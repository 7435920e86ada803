package firewall

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"clinicgate/netd/config"

	"github.com/coreos/go-iptables/iptables"
)

// A family is one of the two packet filters.
type family struct {
	proto   iptables.Protocol
	restore string // program
	chains  []chain
}

// patience bounds one run of iptables-restore.
const patience = 30 * time.Second

// Install puts the rules for c in force, IPv6 first, as it only denies. It starts
// programs of the iptables package, found in PATH or /usr/sbin. Stop anywhere:
// the generation in force before is in force still, or the new one is; what is
// left over goes at the next Install.
func Install(ctx context.Context, c config.Config) error {
	families := []family{
		{iptables.ProtocolIPv6, "ip6tables-restore", rules6()},
		{iptables.ProtocolIPv4, "iptables-restore", rules4(c)},
	}
	for _, f := range families {
		if err := f.install(ctx); err != nil {
			return fmt.Errorf("firewall, %s: %w", f.restore, err)
		}
	}
	return nil
}

func (f family) install(ctx context.Context) error {
	name := "iptables"
	if f.proto == iptables.ProtocolIPv6 {
		name = "ip6tables"
	}
	program, err := find(name)
	if err != nil {
		return err
	}
	ipt, err := iptables.New(iptables.IPFamily(f.proto), iptables.Path(program))
	if err != nil {
		return err
	}
	old, err := f.generations(ipt)
	if err != nil {
		return err
	}
	n := next(old)
	if err := f.run(ctx, build(f.chains, n)); err != nil {
		f.drop(ipt, []int{n}) // stop here, or fail to drop: unreachable chains, dropped next time
		return err
	}
	if err := f.anchor(ipt); err != nil {
		return err
	}
	if err := f.run(ctx, turn(f.chains, n)); err != nil {
		return err
	}
	return f.drop(ipt, old)
}

// anchor makes what all generations hang from: a policy of dropping, a chain that
// stays and the jump to it, first in its hook.
func (f family) anchor(ipt *iptables.IPTables) error {
	for _, c := range f.chains {
		if c.deny {
			if err := ipt.ChangePolicy(c.table, c.hook, "DROP"); err != nil {
				return err
			}
		}
		there, err := ipt.ChainExists(c.table, c.anchor())
		if err == nil && !there {
			err = ipt.NewChain(c.table, c.anchor())
		}
		if err != nil {
			return err
		}
		if err := ipt.InsertUnique(c.table, c.hook, 1, "-j", c.anchor()); err != nil {
			return err
		}
	}
	return nil
}

var generationForm = regexp.MustCompile(`^cg-(\d{1,9})-`)

// generations lists those that have a chain.
func (f family) generations(ipt *iptables.IPTables) ([]int, error) {
	seen := map[int]bool{}
	var all []int
	for i, c := range f.chains {
		if i > 0 && f.chains[i-1].table == c.table {
			continue
		}
		names, err := ipt.ListChains(c.table)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			m := generationForm.FindStringSubmatch(name)
			if m == nil {
				continue
			}
			if n, err := strconv.Atoi(m[1]); err == nil && !seen[n] {
				seen[n] = true
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// next is a number that no chain has.
func next(old []int) int {
	n := 0
	for _, o := range old {
		n = max(n, o)
	}
	return n + 1
}

// drop removes the chains of generations that nothing jumps to.
func (f family) drop(ipt *iptables.IPTables, old []int) error {
	for _, n := range old {
		for _, c := range f.chains {
			there, err := ipt.ChainExists(c.table, c.generation(n))
			if err == nil && there {
				err = ipt.ClearAndDeleteChain(c.table, c.generation(n))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// run feeds text to iptables-restore, which keeps everything it isn't told about.
func (f family) run(ctx context.Context, text string) error {
	program, err := find(f.restore)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--noflush")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s --noflush: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// find returns a program's path; a service's PATH may lack the sbin folders.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find program: %w", err)
	}
	return path, nil
}
