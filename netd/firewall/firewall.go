// Package firewall holds the box's packet filter: everything is denied but what
// the site file opens and what was asked for from inside. A new generation of
// rules is built beside the old one, in both families, and switched to by one jump
// in each table; when anything in it is refused by the kernel, the old one stands,
// in both.
package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/netd/config"

	"github.com/coreos/go-iptables/iptables"
)

// patience bounds one run of iptables-restore.
const patience = 30 * time.Second

// Install puts the rules for c in force. prefixes are the clinic's IPv6 prefixes by
// provider, in order of the uplinks, invalid where there is none. It starts
// programs of the iptables package, found in PATH or /usr/sbin. Stop anywhere: in
// each family the generation in force before is in force still, or the new one is;
// the next Install brings them together and removes what is left over.
func Install(ctx context.Context, c config.Config, prefixes []netip.Prefix) error {
	err := install(ctx, c, prefixes, true)
	if err == nil || !slices.ContainsFunc(c.Firewall.WAN, func(s config.Service) bool { return s.Proto == "tcp" }) {
		return err
	}
	// A kernel without SYNPROXY protects itself by SYN cookies alone.
	if without := install(ctx, c, prefixes, false); without != nil {
		return err
	}
	return nil
}

func install(ctx context.Context, c config.Config, prefixes []netip.Prefix, proxy bool) error {
	var families []*family
	for _, six := range []bool{true, false} {
		f, err := open(ctx, six)
		if err != nil {
			return err
		}
		f.chains = book{c: c, six: six, prefixes: prefixes, proxy: proxy}.chains()
		families = append(families, f)
	}
	return swap(ctx, families)
}

// swap brings the families from their old generations to a new one: all are built
// before the first is turned, and when one can't be turned, those that were turn
// back.
func swap(ctx context.Context, families []*family) error {
	n := 1
	for _, f := range families {
		n = max(n, f.newest()+1)
	}
	for i, f := range families {
		if err := f.run(ctx, build(f.chains, n)); err != nil {
			err = fmt.Errorf("firewall, %s: %w", f.name, err)
			// Stop here, or fail to drop: chains nothing jumps to, which the
			// next Install removes.
			for _, f := range families[:i+1] {
				err = errors.Join(err, f.forget(ctx, n))
			}
			return err
		}
	}
	for i, f := range families {
		// Stop here: the families before are turned, this one and those after are
		// not. Each is whole by itself.
		if err := f.turn(ctx, n); err != nil {
			err = fmt.Errorf("firewall, %s: %w", f.name, err)
			for _, f := range families[:i+1] {
				err = errors.Join(err, f.turnBack(ctx))
			}
			for _, f := range families {
				err = errors.Join(err, f.forget(ctx, n))
			}
			return err
		}
	}
	var err error
	for _, f := range families {
		for _, old := range f.generations() {
			err = errors.Join(err, f.remove(ctx, old))
		}
	}
	return err
}

// A family is one of the two packet filters, as it was when it was opened.
type family struct {
	name    string // "iptables" or "ip6tables"
	proto   iptables.Protocol
	chains  []chain
	have    map[string][]string // table → names of our chains, anchors too
	hung    []string            // "table anchor" of those that their hooks jump to
	force   int                 // generation in force, 0: none
	program func(ctx context.Context, name, in string) (out string, err error)
}

var (
	generationForm = regexp.MustCompile(`^cg-(\d{1,9})-`)
	hungForm       = regexp.MustCompile(`^-A [A-Z]+ -j (cg-[a-z-]+)$`)
)

// open looks at what is there of one family.
func open(ctx context.Context, six bool) (*family, error) {
	f := &family{name: "iptables", proto: iptables.ProtocolIPv4, have: map[string][]string{}, program: program}
	if six {
		f.name, f.proto = "ip6tables", iptables.ProtocolIPv6
	}
	listing, err := f.program(ctx, f.name+"-save", "")
	if err != nil {
		return nil, fmt.Errorf("firewall, %s: %w", f.name, err)
	}
	f.look(listing)
	return f, nil
}

// look reads what iptables-save says.
func (f *family) look(listing string) {
	table := ""
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":cg-"):
			name, _, _ := strings.Cut(line[1:], " ")
			f.have[table] = append(f.have[table], name)
		case strings.HasPrefix(line, "-A cg-input -j ") && table == "filter":
			f.force = number(strings.TrimPrefix(line, "-A cg-input -j ")) // it is turned last
		default:
			if m := hungForm.FindStringSubmatch(line); m != nil {
				f.hung = append(f.hung, table+" "+m[1])
			}
		}
	}
}

func (f *family) has(table, name string) bool { return slices.Contains(f.have[table], name) }

// number is the generation that a chain belongs to, 0: none.
func number(name string) int {
	m := generationForm.FindStringSubmatch(name)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // at most nine digits
	return n
}

// generations lists those that had chains.
func (f *family) generations() []int {
	var all []int
	for _, names := range f.have {
		for _, name := range names {
			if n := number(name); n > 0 && !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}

func (f *family) newest() int { return slices.Max(append(f.generations(), 0)) }

// turn makes generation n the one in force. Stop within it, between two tables:
// some tables have the new rules and some the old, and the next Install mends that.
func (f *family) turn(ctx context.Context, n int) error {
	if err := f.run(ctx, turn(f.chains, n, f.fresh)); err != nil {
		return err
	}
	for _, c := range f.chains {
		if c.hook != "" && !f.fresh(c) && !slices.Contains(f.hung, c.table+" "+c.anchor()) {
			if err := f.hang(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// fresh reports whether a chain's anchor was not there.
func (f *family) fresh(c chain) bool { return !f.has(c.table, c.anchor()) }

// hang puts back a jump that someone took out.
func (f *family) hang(c chain) error {
	path, err := find(f.name)
	if err != nil {
		return err
	}
	ipt, err := iptables.New(iptables.IPFamily(f.proto), iptables.Path(path))
	if err != nil {
		return err
	}
	return ipt.InsertUnique(c.table, c.hook, 1, "-j", c.anchor())
}

// turnBack puts the generation of before in force again, or with none leaves the
// anchors empty and the policies denying.
func (f *family) turnBack(ctx context.Context) error {
	var whole []chain
	for _, c := range f.chains {
		if f.force == 0 || f.has(c.table, c.generation(f.force)) {
			whole = append(whole, c)
		}
	}
	there := func(chain) bool { return false }
	return f.run(ctx, turn(whole, f.force, there))
}

// remove drops the chains of a generation that nothing jumps to.
func (f *family) remove(ctx context.Context, n int) error {
	byTable := map[string][]string{}
	for table, names := range f.have {
		for _, name := range names {
			if number(name) == n {
				byTable[table] = append(byTable[table], name)
			}
		}
	}
	if len(byTable) == 0 {
		return nil
	}
	return f.run(ctx, drop(byTable))
}

// forget drops what build may have made of generation n, table by table: it may
// have got to any of them.
func (f *family) forget(ctx context.Context, n int) error {
	now, err := open(ctx, f.proto == iptables.ProtocolIPv6)
	if err != nil {
		return err
	}
	return now.remove(ctx, n)
}

// run feeds text to iptables-restore, which keeps everything it isn't told about.
func (f *family) run(ctx context.Context, text string) error {
	_, err := f.program(ctx, f.name+"-restore", text)
	return err
}

// program runs iptables-save or iptables-restore.
func program(ctx context.Context, name, in string) (out string, err error) {
	path, err := find(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	if in != "" {
		cmd.Args = append(cmd.Args, "--noflush")
	}
	cmd.Stdin = strings.NewReader(in)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	listing, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(complaint.Bytes()))
	}
	return string(listing), nil
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
