package http1

// Reason says why a message was refused. Reasons are stable.
type Reason string

// Error is the refusal of a message. After it, nothing more on the connection that the bytes came from can be trusted: the
// caller closes that connection (after it has answered, where it is the client's). Errors are static: they can be compared
// by pointer, and a refusal allocates nothing.
type Error struct {
	Reason    Reason
	Status    int    // what the client is answered: 4xx or 5xx for its own messages, 502 for a server's
	Detail    string // one sentence: what was wrong; safe to show to the client
	Smuggling bool   // the message looks like an attempt to make two readers disagree on where it ends
}

func (e *Error) Error() string { return e.Detail }

// Errors lists every refusal that this package can give.
func Errors() []*Error { return nil }
