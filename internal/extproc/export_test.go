package extproc

import (
	"encoding/binary"
	"errors"
	"io"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/remora-proxy/remora/internal/extproc/rpc"
)

// Process serves a stream without a network: each message is given to the exchange as it would come over the wire, and each answer read from
// what would go over it.
func (s *Server) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	x, err := s.open(rpc.Call{})
	if err != nil {
		return err
	}
	defer x.End()
	for {
		in, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		m, err := proto.Marshal(in)
		if err != nil {
			return err
		}
		answers, failed := x.Message(m, nil)
		for errors.Is(failed, rpc.ErrWait) {
			clear(m) // it is valid no longer
			w := x.(rpc.Waiter)
			w.Wait()
			answers, failed = w.Resume(answers)
		}
		for len(answers) > 0 {
			n := 5 + binary.BigEndian.Uint32(answers[1:])
			out := &extprocv3.ProcessingResponse{}
			if err := proto.Unmarshal(answers[5:n], out); err != nil {
				return err
			}
			if err := stream.Send(out); err != nil {
				return err
			}
			answers = answers[n:]
		}
		if failed != nil {
			return failed
		}
	}
}

// The text of a pick, for tests of its own.
var (
	AppendPick = appendPick
	ParsePick  = parsePick
)
