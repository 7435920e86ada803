package pivcard

// Oddities are ways in which cards of other makes differ from ours without being
// wrong, or without being wrong enough to be of no use. The zero value has none.
type Oddities struct {
	T0         bool // answers come by GET RESPONSE alone, and a wrong Le is told with 6Cxx
	BareSelect bool // SELECT is answered with 9000 and no template
	NoForget   bool // VERIFY with P1 FF, new in SP 800-73-4, is not known
	PINAlways  bool // the key in slot 9A wants the PIN each time, as that in 9C does
	Wrong      int  // status word for a wrong PIN in place of 63Cx
	Count      int  // status word for the question how many tries are left
	T0Strict   bool // with T0: a case 4 command with Le, or case 1 without a fifth byte, is 6700
	NoChain    bool // chained commands are refused, those of extended length taken
	ShortAID   bool // the application is known by its identifier without version alone
	GlobalPIN  bool // the PIN is the one of all applications, reference 00
	Gone       bool // a blocked PIN is 6984
	PackedMute bool // certificates are packed by gzip and not marked so
	Missing    int  // status word for a data object that is not there, in place of 6A82
	ATR        []byte
}

// WithOddities makes a card of another make.
func WithOddities(o Oddities) Option {
	return func(c *Card) error {
		c.odd = o
		if o.ATR != nil {
			c.atr = o.ATR
		}
		return nil
	}
}

// SpeaksT0 says that the card knows no other protocol than T=0.
func (c *Card) SpeaksT0() bool { return c.odd.T0 }

// Without takes a data object away, such as the discovery object 7E. It is for a
// card that is ready: New puts them in.
func (c *Card) Without(tag uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.objects, tag)
}

// WithoutKey takes the key and the certificate of a slot away.
func (c *Card) WithoutKey(slot byte) {
	c.Without(certificateTag[slot])
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, slot)
}
