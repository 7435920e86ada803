package wire

// Echo is one line of netd's answer to an echo or a trace: what came back of one
// question, or how the whole ended.
type Echo struct {
	Seq  int     `json:"seq"`
	Hops int     `json:"hops"`           // it was sent over at most so many
	From string  `json:"from,omitempty"` // who answered; empty: nobody
	Kind string  `json:"kind"`           // "reply", "exceeded", "unreachable", "silent"; "error": Why
	MS   float64 `json:"ms,omitempty"`
	Why  string  `json:"why,omitempty"`
}

// The kinds of an Echo.
const (
	EchoReply       = "reply"
	EchoExceeded    = "exceeded"
	EchoUnreachable = "unreachable"
	EchoSilent      = "silent"
	EchoError       = "error"
)
