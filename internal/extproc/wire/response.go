package wire

import "google.golang.org/protobuf/encoding/protowire"

// Response is a ProcessingResponse: the answer to a message of Kind, or an ImmediateResponse.
type Response struct {
	Kind Kind

	// Changes of the headers. With none of the fields up to Piece set, the message has no CommonResponse.
	Set             []SetHeader
	Remove          []string
	ClearRouteCache bool

	// A piece of a body that goes on in FULL_DUPLEX_STREAMED, and whether it is the last.
	HasPiece bool
	Piece    []byte
	End      bool

	Mode      Mode
	Metadata  []Metadata
	Immediate *Immediate // in place of all above
}

// Clear drops what r holds of a request, and keeps its memory for the next one.
func (r *Response) Clear() {
	clear(r.Set)
	clear(r.Remove)
	clear(r.Metadata)
	*r = Response{Set: r.Set[:0], Remove: r.Remove[:0], Metadata: r.Metadata[:0]}
}

// SetHeader puts a field in place of all fields of its name, or beside them.
type SetHeader struct {
	Name, Value string
	Beside      bool
}

// Mode is a mode_override; the zero Mode is none. What it does not name is as in the generated type's zero value.
type Mode struct {
	IsSet            bool
	RequestBody      BodyMode
	ResponseHeaders  bool // SEND, else DEFAULT
	RequestTrailers  bool
	ResponseTrailers bool
}

// Metadata is one value of Envoy's dynamic metadata. Those of one namespace follow each other in a message.
type Metadata struct{ Namespace, Key, Text string }

// Immediate makes Envoy answer the request itself.
type Immediate struct {
	Status      int
	ContentType string
	Body        []byte
	Details     string // for Envoy's access log
}

// The header_send_mode SEND, and the append_actions of a HeaderValueOption.
const (
	send      = 1
	overwrite = 2 // OVERWRITE_IF_EXISTS_OR_ADD; 0 is APPEND_IF_EXISTS_OR_ADD
)

// numbers are the fields of the oneof in ProcessingResponse.
var numbers = [...]protowire.Number{
	RequestHeaders: 1, ResponseHeaders: 2, RequestBody: 3, ResponseBody: 4, RequestTrailers: 5, ResponseTrailers: 6,
}

const immediateNumber = 7

// decided is a guess at the bytes of a namespace's metadata: of those that say a decision.
const decided = 200

// Append appends the message.
func (r *Response) Append(to []byte) []byte {
	if r.Immediate != nil {
		return r.Immediate.append(to)
	}
	to, at := begin(to, numbers[r.Kind], len(r.Piece))
	switch r.Kind {
	case RequestTrailers, ResponseTrailers:
		if r.changesHeaders() {
			to = r.appendMutation(to, 1)
		}
	default:
		if r.changesHeaders() || r.ClearRouteCache || r.HasPiece {
			to = r.appendCommon(to)
		}
	}
	to = end(to, at)
	to = r.appendMetadata(to)
	if r.Mode.IsSet {
		to = r.Mode.append(to)
	}
	return to
}

func (r *Response) changesHeaders() bool { return len(r.Set) > 0 || len(r.Remove) > 0 }

// appendCommon appends a CommonResponse.
func (r *Response) appendCommon(to []byte) []byte {
	to, at := begin(to, 1, len(r.Piece))
	if r.changesHeaders() {
		to = r.appendMutation(to, 2)
	}
	if r.HasPiece {
		var body, streamed mark
		to, body = begin(to, 3, len(r.Piece))
		to, streamed = begin(to, 3, len(r.Piece))
		if len(r.Piece) > 0 {
			to = appendBytes(to, 1, r.Piece)
		}
		to = appendBool(to, 2, r.End)
		to = end(end(to, streamed), body)
	}
	to = appendBool(to, 5, r.ClearRouteCache)
	return end(to, at)
}

// appendMutation appends a HeaderMutation.
func (r *Response) appendMutation(to []byte, num protowire.Number) []byte {
	to, at := begin(to, num, 0)
	for i := range r.Set {
		h := &r.Set[i]
		to = appendOption(to, h.Name, h.Value, h.Beside)
	}
	for _, name := range r.Remove {
		to = appendString(to, 2, name)
	}
	return end(to, at)
}

// appendOption appends a HeaderValueOption as one of set_headers.
func appendOption(to []byte, name, value string, beside bool) []byte {
	to, at := begin(to, 1, 0)
	to, header := begin(to, 1, 0)
	to = appendString(to, 1, name)
	to = appendString(to, 3, value)
	to = end(to, header)
	if !beside {
		to = appendVarint(to, 3, overwrite)
	}
	return end(to, at)
}

// appendMetadata appends dynamic_metadata: a Struct with a Struct for each namespace.
func (r *Response) appendMetadata(to []byte) []byte {
	if len(r.Metadata) == 0 {
		return to
	}
	to, at := begin(to, 8, 0)
	for rest := r.Metadata; len(rest) > 0; {
		var entry, value, inner mark
		namespace := rest[0].Namespace
		to, entry = begin(to, 1, 0)
		to = appendString(to, 1, namespace)
		to, value = begin(to, 2, decided)
		to, inner = begin(to, 5, decided)
		for ; len(rest) > 0 && rest[0].Namespace == namespace; rest = rest[1:] {
			to = appendText(to, rest[0].Key, rest[0].Text)
		}
		to = end(end(end(to, inner), value), entry)
	}
	return end(to, at)
}

// appendText appends an entry of a Struct.
func appendText(to []byte, key, text string) []byte {
	to, entry := begin(to, 1, 0)
	to = appendString(to, 1, key)
	to, value := begin(to, 2, 0)
	to = protowire.AppendTag(to, 3, protowire.BytesType) // one of several kinds: an empty text is said
	to = protowire.AppendString(to, text)
	return end(end(to, value), entry)
}

func (m *Mode) append(to []byte) []byte {
	to, at := begin(to, 9, 0)
	if m.ResponseHeaders {
		to = appendVarint(to, 2, send)
	}
	if m.RequestBody != None {
		to = appendVarint(to, 3, uint64(m.RequestBody))
	}
	if m.RequestTrailers {
		to = appendVarint(to, 5, send)
	}
	if m.ResponseTrailers {
		to = appendVarint(to, 6, send)
	}
	return end(to, at)
}

func (i *Immediate) append(to []byte) []byte {
	to, at := begin(to, immediateNumber, 0)
	to, status := begin(to, 1, 0)
	to = appendVarint(to, 1, uint64(i.Status))
	to = end(to, status)
	if i.ContentType != "" {
		var headers mark
		to, headers = begin(to, 2, 0)
		to = end(appendOption(to, "content-type", i.ContentType, false), headers)
	}
	if len(i.Body) > 0 {
		to = appendBytes(to, 3, i.Body)
	}
	to = appendString(to, 5, i.Details)
	return end(to, at)
}

// mark is where an embedded message begins, and how many bytes there are before it for its length.
type mark struct{ at, room int }

// begin begins an embedded message of about n bytes.
func begin(to []byte, num protowire.Number, n int) ([]byte, mark) {
	to = protowire.AppendTag(to, num, protowire.BytesType)
	room := protowire.SizeVarint(uint64(n))
	to = append(to, zeros[:room]...)
	return to, mark{len(to), room}
}

var zeros [10]byte

// end writes the length of the message that began at m. Where that takes more bytes than there is room for, the content moves: that is
// cheaper than to go through everything twice.
func end(to []byte, m mark) []byte {
	n := uint64(len(to) - m.at)
	if more := protowire.SizeVarint(n) - m.room; more != 0 {
		to = append(to, zeros[:max(0, more)]...)
		copy(to[m.at+more:], to[m.at:m.at+int(n)])
		to = to[:m.at+more+int(n)]
	}
	protowire.AppendVarint(to[:m.at-m.room], n)
	return to
}

func appendVarint(to []byte, num protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, num, protowire.VarintType), n)
}

func appendBool(to []byte, num protowire.Number, b bool) []byte {
	if !b {
		return to
	}
	return appendVarint(to, num, 1)
}

func appendString(to []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return to
	}
	return protowire.AppendString(protowire.AppendTag(to, num, protowire.BytesType), s)
}

func appendBytes(to []byte, num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, num, protowire.BytesType), b)
}
