// Tally reads the events of `go test -json` and prints what a person wants of
// them: a line per package, the whole output of what failed, why tests were
// skipped, and a last line with the counts. It exits 1 when a test failed, a
// package did not build, or nothing ran at all.
//
// Labs of many programs share a machine that may stand still for seconds. So up to
// three failed tests are run once more, alone, by the command in the arguments (`go
// test -json ...`). One that fails again has failed; one that passes is named in the
// last line, for somebody to look into: it is no pass like the others.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	s := newSheet(os.Stdout)
	err := s.read(os.Stdin)
	if command := os.Args[1:]; err == nil && len(command) > 0 {
		err = s.again(func(pkg, test string, read func(io.Reader) error) error {
			return alone(append(slices.Clone(command), "-run", "^"+test+"$", pkg), read)
		})
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tally: %v\n", err)
		os.Exit(1)
	}
	os.Exit(s.close())
}

// alone runs a command and has its events read. That it fails is among them.
func alone(command []string, read func(io.Reader) error) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run a test again: %w", err)
	}
	err = read(out)
	_ = cmd.Wait()
	return err
}

// An event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, ImportPath, Test, Output, Key, Value string
	Elapsed                                               float64
}

// A sheet adds up events.
type sheet struct {
	out                     io.Writer
	passed, failed, skipped int
	booted                  int                 // tests that booted the image
	said                    map[string][]string // package and test → its output, until it passes
	blamed                  map[string]bool     // packages with a failed test
	red                     map[string]int      // package and top-level test → failures, its subtests' too
	skips, second           []string            // second: passed only when run again
}

func newSheet(out io.Writer) *sheet {
	return &sheet{out: out, said: map[string][]string{}, blamed: map[string]bool{}, red: map[string]int{}}
}

// read takes in all events. Lines that are none (the toolchain's own) are shown.
func (s *sheet) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				s.add(e)
			} else {
				fmt.Fprint(s.out, line)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

func (s *sheet) add(e event) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.said[id] = append(s.said[id], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.failed++
	case "attr":
		if e.Key == "boots" && e.Value == "image" {
			s.booted++
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.closePackage(e, id)
		} else {
			s.closeTest(e, id)
		}
	}
}

// closeTest counts a test and keeps only what is worth reading of its output.
func (s *sheet) closeTest(e event, id string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		s.skips = append(s.skips, id+reason(s.said[id]))
	case "fail":
		s.failed++
		s.blamed[e.Package] = true
		s.red[e.Package+" "+topOf(e.Test)]++
		fmt.Fprintf(s.out, "FAIL %s\n%s", id, strings.Join(s.said[id], ""))
	}
	delete(s.said, id)
}

// reason is the last line a skipped test said, without its position.
func reason(said []string) string {
	for i := len(said) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(said[i]); line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return ": " + line
		}
	}
	return ""
}

func (s *sheet) closePackage(e event, id string) {
	word := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "-   "}[e.Action]
	if e.Action == "fail" {
		if !s.blamed[e.Package] { // a panic, or an exit outside any test
			s.failed++
		}
		for key, said := range s.said {
			if key == id || strings.HasPrefix(key, e.Package+" ") {
				fmt.Fprint(s.out, strings.Join(said, ""))
				delete(s.said, key)
			}
		}
	}
	delete(s.said, id)
	if e.Action != "skip" { // a package without tests
		fmt.Fprintf(s.out, "%s %6.1f s  %s\n", word, e.Elapsed, e.Package)
	}
}

// topOf is the test that a subtest belongs to.
func topOf(test string) string {
	top, _, _ := strings.Cut(test, "/")
	return top
}

// mostAgain is how many failed tests are taken for bad luck: more are a fault.
const mostAgain = 3

// again has the failed tests run once more, one after the other. What failed in any
// other way (no build, a panic) is not run again.
func (s *sheet) again(run func(pkg, test string, read func(io.Reader) error) error) error {
	if len(s.red) > mostAgain {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(s.red)) {
		pkg, test, _ := strings.Cut(id, " ")
		fmt.Fprintf(s.out, "again %s\n", id)
		sole := newSheet(s.out)
		if err := run(pkg, test, sole.read); err != nil {
			return err
		}
		if sole.failed == 0 && sole.skipped == 0 && sole.passed > 0 {
			s.failed -= s.red[id]
			s.passed += s.red[id]
			s.second = append(s.second, id)
		}
	}
	return nil
}

// close prints the counts and returns the exit status.
func (s *sheet) close() int {
	for _, skip := range s.skips {
		fmt.Fprintln(s.out, "skipped", skip)
	}
	fmt.Fprintf(s.out, "tests that booted the image: %d\n", s.booted)
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped%s\n", s.passed, s.failed, s.skipped, s.luck())
	if s.failed > 0 || s.passed == 0 {
		return 1
	}
	return 0
}

// luck names what passed at the second try only.
func (s *sheet) luck() string {
	if len(s.second) == 0 {
		return ""
	}
	return "; failed at first and passed alone: " + strings.Join(s.second, ", ")
}
