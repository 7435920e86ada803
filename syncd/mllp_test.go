package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A result comes in over MLLP; the box is killed right behind its acknowledgement;
// the sender, who may not have heard, sends again. It is one item.
func TestResultOutlivesAKill(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	port := freePort(t)
	c.ways(fmt.Sprintf("[sync.hl7]\nlisten = \"127.0.0.1:%s\"\nsenders = [\"IA PHIMS Stage\"]", port))
	c.keys()
	message := strings.ReplaceAll(strings.Replace(readFile(t, "hl7/testdata/ORU-R01-01.hl7"), "|T|2.5", "|P|2.5", 1), "\n", "\r")
	for range 2 {
		c.start()
		var conn net.Conn
		c.wait("listener", func() (ok bool) {
			var err error
			conn, err = net.Dial("tcp", "127.0.0.1:"+port)
			return err == nil
		})
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, err := io.WriteString(conn, "\x0b"+message+"\x1c\r")
		c.must(err)
		ack, err := bufio.NewReader(conn).ReadString(0x1c)
		c.must(err)
		if !strings.Contains(ack, "MSA|CA|2.16.840.1.114222.4.3.3.5.1.2-20120314235954.325\r") {
			t.Fatalf("got %q", ack)
		}
		c.kill()
		conn.Close()
	}
	c.start()
	c.wait("one item", func() bool { return c.waiting() == 1 })
	if log := c.log.String(); strings.Contains(log, "Huckleberry") {
		t.Errorf("the log names a patient:\n%s", log)
	}
}
