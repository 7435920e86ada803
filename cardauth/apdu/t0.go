package apdu

// ForT0 is a short command as it goes over T=0 (ISO/IEC 7816-3 §12.2): there case 1
// has a fifth byte, and case 4 has no Le, which the card answers by 61xx. Drivers
// that don't know pass on what they get, and cards answer 6700 to the rest.
func ForT0(cmd []byte) []byte {
	switch n := len(cmd); {
	case n == 4:
		return append(cmd[:4:4], 0) // a copy: no PIN is in so short a command
	case n > 5 && cmd[4] != 0 && n == 5+int(cmd[4])+1:
		return cmd[:n-1]
	}
	return cmd
}
