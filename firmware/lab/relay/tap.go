package relay

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab/netns"
)

// tap is an end that is a device in a namespace. The device goes with the end.
type tap struct {
	file *os.File
}

// TAP makes the Ethernet device called name in space and returns the cable end
// that is plugged into it.
func TAP(space *netns.Space, name string) (End, error) {
	var fd int
	err := space.Do(func() (err error) {
		fd, err = openTAP(name) // the device is born in the thread's namespace
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make TAP %s/%s: %w", space.Name, name, err)
	}
	t := &tap{os.NewFile(uintptr(fd), name)}
	if err := space.Up(name); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func openTAP(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func (t *tap) ReadFrame(buf []byte) (int, error) { return t.file.Read(buf) }

func (t *tap) WriteFrame(frame []byte) error {
	_, err := t.file.Write(frame)
	return err
}

func (t *tap) SetCarrier(up bool) error {
	value := 0
	if up {
		value = 1
	}
	conn, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := conn.Control(func(fd uintptr) {
		err = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value)
	})
	if ctlErr != nil {
		return ctlErr
	}
	return err
}

func (t *tap) Close() error { return t.file.Close() }
