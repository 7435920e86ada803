package segment

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// victimDir, when set in the environment, makes the test binary a writer that
// appends until it is killed.
const victimDir = "SEGMENT_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// victim prints each number whose record is durable: four writers, numbers that
// begin behind the largest in the log.
func victim(dir string) {
	l, err := Open(dir, Options{SegmentSize: 256 << 10})
	if err != nil {
		fmt.Println("open:", err)
		return
	}
	next := uint64(0)
	l.Scan(func(_ Ref, b []byte) error {
		next = max(next, binary.BigEndian.Uint64(b)+1)
		return nil
	})
	var mu sync.Mutex
	for range 4 {
		go func() {
			for {
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				b := binary.BigEndian.AppendUint64(nil, n)
				b = append(b, make([]byte, rand.IntN(9000))...)
				if _, err := l.Append(b); err != nil {
					fmt.Println("append:", err)
				}
				fmt.Println(n)
			}
		}()
	}
	select {}
}

// A real process is killed at random moments and started again on what it left.
func TestKilledProcess(t *testing.T) {
	lives := 12
	if testing.Short() {
		lives = 3
	}
	dir := t.TempDir()
	promised := map[uint64]bool{}
	for range lives {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(50+rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64)
			if err != nil {
				t.Fatalf("the writer says %q", lines.Text())
			}
			promised[n] = true
		}
		cmd.Wait()
	}
	l, err := Open(dir, Options{SegmentSize: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found := map[uint64]int{}
	if err := l.Scan(func(_ Ref, b []byte) error { found[binary.BigEndian.Uint64(b)]++; return nil }); err != nil {
		t.Fatal(err)
	}
	for n := range promised {
		if found[n] != 1 {
			t.Errorf("record %d was promised and is there %d times", n, found[n])
		}
	}
	for n, times := range found {
		if times != 1 {
			t.Errorf("record %d is there %d times", n, times)
		}
	}
	t.Logf("%d lives, %d records promised, %d found, %d segments", lives, len(promised), len(found), len(l.Segments()))
	if len(promised) == 0 {
		t.Fatal("nothing was promised in any life")
	}
}
