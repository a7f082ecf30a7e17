package redisstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// A message is: version 1 byte, kind 1, the gateway 4, and what the kind needs. All numbers have their first byte first.
//
//	Moved   key 8, owner 8
//	Totals  number of the count 4, part 2, parts 2, and for each owner: owner 8, sessions 4
//	Drain   on 1, address, incarnation: each with its length before it, 2
//
// A message of another version, of an unknown kind, or that is not just as long as it must be, is ignored: it is from a gateway of another
// version, or no gateway's.
const (
	newsVersion = 1
	headSize    = 6

	totalsPerMessage = 4096                                    // so that no message is larger than 64 KiB
	maxTotalsParts   = session.MaxEndpoints / totalsPerMessage // a gateway knows no more endpoints
	maxEndpointText  = 1 << 10                                 // bytes of an address, and of an incarnation
)

// movedHead is what the message of a move begins with. The store's script adds key and owner.
func movedHead(from uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{newsVersion, byte(shared.Moved)}, from)
}

// encodeNews writes news as messages: one, or more for Totals of many owners, which bear the number `count`.
func encodeNews(n shared.News, count uint32) ([][]byte, error) {
	out := binary.BigEndian.AppendUint32([]byte{newsVersion, byte(n.Kind)}, n.From)
	switch n.Kind {
	case shared.Moved:
		out = binary.BigEndian.AppendUint64(out, uint64(n.Key))
		out = binary.BigEndian.AppendUint64(out, uint64(n.Owner))
	case shared.Drain:
		endpoint, err := encodeEndpoint(n.Endpoint)
		if err != nil {
			return nil, err
		}
		on := byte(0)
		if n.On {
			on = 1
		}
		out = append(append(out, on), endpoint...)
	case shared.Totals:
		return encodeTotals(out, n.Counted, count)
	default:
		return nil, fmt.Errorf("news of kind %d have no form", n.Kind)
	}
	return [][]byte{out}, nil
}

func encodeTotals(head []byte, counted map[shared.Identity]int, count uint32) ([][]byte, error) {
	parts := max(1, (len(counted)+totalsPerMessage-1)/totalsPerMessage)
	if parts > maxTotalsParts {
		return nil, fmt.Errorf("the sessions of %d owners are counted, expected at most %d", len(counted), session.MaxEndpoints)
	}
	owners := slices.SortedFunc(maps.Keys(counted), cmp.Compare[shared.Identity])
	var messages [][]byte
	for part := range parts {
		out := binary.BigEndian.AppendUint32(slices.Clone(head), count)
		out = binary.BigEndian.AppendUint16(out, uint16(part))
		out = binary.BigEndian.AppendUint16(out, uint16(parts))
		for _, owner := range owners[part*totalsPerMessage : min(len(owners), (part+1)*totalsPerMessage)] {
			out = binary.BigEndian.AppendUint64(out, uint64(owner))
			out = binary.BigEndian.AppendUint32(out, uint32(min(max(counted[owner], 0), math.MaxUint32)))
		}
		messages = append(messages, out)
	}
	return messages, nil
}

// encodeEndpoint writes an endpoint as news and the marks of drained endpoints have it.
func encodeEndpoint(endpoint [2]string) ([]byte, error) {
	var out []byte
	for _, text := range endpoint {
		if len(text) > maxEndpointText {
			return nil, fmt.Errorf("an endpoint's address or incarnation has %d bytes, expected at most %d", len(text), maxEndpointText)
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(text))), text...)
	}
	return out, nil
}

func decodeEndpoint(in []byte) (endpoint [2]string, ok bool) {
	for i := range endpoint {
		if len(in) < 2 {
			return endpoint, false
		}
		n := int(binary.BigEndian.Uint16(in))
		if in = in[2:]; n > len(in) || n > maxEndpointText {
			return endpoint, false
		}
		endpoint[i], in = string(in[:n]), in[n:]
	}
	return endpoint, len(in) == 0
}

// A newsReader puts the messages of one channel together. Of Totals in several messages it has those of one count at a time: only one
// gateway counts, and what it counts next makes up for what was lost.
type newsReader struct {
	from    uint32
	count   uint32
	missing map[uint16]bool // parts
	counted map[shared.Identity]int
}

var errNews = errors.New("a message of another version, or no gateway's")

// read takes a message, and gives the news when they are whole.
func (r *newsReader) read(in []byte) (n shared.News, whole bool, err error) {
	if len(in) < headSize || in[0] != newsVersion {
		return n, false, errNews
	}
	n.Kind, n.From, in = shared.NewsKind(in[1]), binary.BigEndian.Uint32(in[2:]), in[headSize:]
	switch {
	case n.Kind == shared.Moved && len(in) == 16:
		n.Key, n.Owner = session.Key(binary.BigEndian.Uint64(in)), shared.Identity(binary.BigEndian.Uint64(in[8:]))
		return n, true, nil
	case n.Kind == shared.Drain && len(in) > 0 && in[0] <= 1:
		var ok bool
		n.On = in[0] == 1
		if n.Endpoint, ok = decodeEndpoint(in[1:]); ok {
			return n, true, nil
		}
	case n.Kind == shared.Totals && len(in) >= 8 && (len(in)-8)%12 == 0 && (len(in)-8)/12 <= totalsPerMessage:
		return r.totals(n, in)
	}
	return shared.News{}, false, errNews
}

// totals takes a part of Totals.
func (r *newsReader) totals(n shared.News, in []byte) (shared.News, bool, error) {
	count, part, parts := binary.BigEndian.Uint32(in), binary.BigEndian.Uint16(in[4:]), binary.BigEndian.Uint16(in[6:])
	if part >= parts || parts > maxTotalsParts {
		return shared.News{}, false, errNews
	}
	if r.counted == nil || r.from != n.From || r.count != count {
		*r = newsReader{from: n.From, count: count, missing: map[uint16]bool{}, counted: map[shared.Identity]int{}}
		for i := range parts {
			r.missing[i] = true
		}
	}
	if !r.missing[part] {
		return shared.News{}, false, errNews
	}
	delete(r.missing, part)
	for in = in[8:]; len(in) > 0; in = in[12:] {
		r.counted[shared.Identity(binary.BigEndian.Uint64(in))] = int(binary.BigEndian.Uint32(in[8:]))
	}
	if len(r.missing) > 0 {
		return shared.News{}, false, nil
	}
	n.Counted = r.counted
	*r = newsReader{}
	return n, true, nil
}
