//go:build linux

package asenvoy

import (
	"encoding/binary"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/remora-proxy/remora/bench/peers"
)

// request is one request as Envoy tells the processor of it, each message with gRPC's five bytes before it.
type request struct {
	headers, body []byte
}

// requests are the requests of the comparison (bench/peers), with the headers that Envoy sends and adds.
func requests() []request {
	var all []request
	for _, body := range peers.Bodies() {
		m := &corev3.HeaderMap{}
		for _, h := range [][2]string{
			{":authority", "127.0.0.1"},
			{":path", peers.Path},
			{":method", "POST"},
			{":scheme", "http"},
			{"content-type", "application/json"},
			{"content-length", fmt.Sprint(len(body))},
			{"x-forwarded-for", "192.0.2.2"},
			{"x-forwarded-proto", "http"},
			{"x-envoy-external-address", "127.0.0.1"},
			{"x-request-id", "37a749ed-849c-466b-b030-7945e714915c"},
		} {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
		}
		all = append(all, request{
			headers: frame(&extprocv3.ProcessingRequest{
				Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m}},
				ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: filterv3.ProcessingMode_BUFFERED},
			}),
			body: frame(&extprocv3.ProcessingRequest{
				Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(body), EndOfStream: true}},
			}),
		})
	}
	return all
}

// frame is a message with gRPC's prefix: not compressed, and its length.
func frame(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(make([]byte, 5), m)
	if err != nil {
		panic(err) // these messages are made above
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-5))
	return b
}
