package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// generated is what the generated types make of a message, as a Request; ok is false where they refuse it.
func generated(message []byte) (r Request, m *extprocv3.ProcessingRequest, ok bool) {
	m = &extprocv3.ProcessingRequest{}
	if proto.Unmarshal(message, m) != nil {
		return r, m, false
	}
	fields := func(m *corev3.HeaderMap) {
		for _, f := range m.GetHeaders() {
			value := f.GetValue()
			if raw := f.GetRawValue(); len(raw) > 0 {
				value = string(raw)
			}
			r.Headers = append(r.Headers, Header{f.GetKey(), value})
		}
	}
	headers := func(h *extprocv3.HttpHeaders) {
		fields(h.GetHeaders())
		r.EndOfStream = h.GetEndOfStream()
	}
	switch of := m.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		r.Kind = RequestHeaders
		headers(of.RequestHeaders)
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		r.Kind = ResponseHeaders
		headers(of.ResponseHeaders)
	case *extprocv3.ProcessingRequest_RequestBody:
		r.Kind, r.Body, r.EndOfStream = RequestBody, of.RequestBody.GetBody(), of.RequestBody.GetEndOfStream()
	case *extprocv3.ProcessingRequest_ResponseBody:
		r.Kind, r.Body, r.EndOfStream = ResponseBody, of.ResponseBody.GetBody(), of.ResponseBody.GetEndOfStream()
	case *extprocv3.ProcessingRequest_RequestTrailers:
		r.Kind = RequestTrailers
		fields(of.RequestTrailers.GetTrailers())
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		r.Kind = ResponseTrailers
		fields(of.ResponseTrailers.GetTrailers())
	}
	if c := m.GetProtocolConfig(); c != nil {
		r.HasConfig, r.RequestBody, r.ResponseBody = true, BodyMode(c.GetRequestBodyMode()), BodyMode(c.GetResponseBodyMode())
	}
	return r, m, true
}

// compare reads a message with both. Where the generated types accept it, so must Read, with the same result; where Read refuses it, so
// must they: Read skips what it does not look at, and so accepts more.
func compare(t *testing.T, r *Request, message []byte) {
	t.Helper()
	err := r.Read(message)
	want, m, ok := generated(message)
	if !ok {
		return
	}
	if err != nil {
		t.Fatalf("%x is refused, and is %v", message, m)
	}
	same := r.Kind == want.Kind && slices.Equal(r.Headers, want.Headers) && string(r.Body) == string(want.Body) && r.EndOfStream == want.EndOfStream &&
		r.HasConfig == want.HasConfig && r.RequestBody == want.RequestBody && r.ResponseBody == want.ResponseBody
	if !same {
		t.Fatalf("%x is read as %+v, and is %v", message, *r, m)
	}
	metadata, err := r.Metadata()
	if err != nil || len(metadata.GetFilterMetadata()) != len(m.GetMetadataContext().GetFilterMetadata()) || metadata != nil && !proto.Equal(metadata, m.GetMetadataContext()) {
		t.Fatalf("the metadata of %x is read as %v, %v, and is %v", message, metadata, err, m.GetMetadataContext())
	}
	compareAttributes(t, r, m)
}

// compareAttributes looks at the attributes that one filter has alone: with two, either may be taken.
func compareAttributes(t *testing.T, r *Request, m *extprocv3.ProcessingRequest) {
	t.Helper()
	count := map[string]int{}
	for _, of := range m.GetAttributes() {
		for name := range of.GetFields() {
			count[name]++
		}
	}
	for _, of := range m.GetAttributes() {
		for name, v := range of.GetFields() {
			got, ok := r.Attribute(name)
			if want := (Value{v.GetStringValue(), v.GetNumberValue()}); count[name] == 1 && (!ok || got != want && !math.IsNaN(want.Number)) {
				t.Fatalf("the attribute %q is %v, %v, want %v", name, got, ok, want)
			}
		}
	}
	if _, ok := r.Attribute("no such attribute"); ok {
		t.Fatal("an attribute that nobody sent is there")
	}
}

// randomRequest is a message as Envoy may send it.
func randomRequest(random *rand.Rand) *extprocv3.ProcessingRequest {
	word := func() string { return strings.Repeat(string(rune('a'+random.IntN(26))), random.IntN(200)) }
	m := &extprocv3.ProcessingRequest{ObservabilityMode: random.IntN(2) == 0}
	h := &corev3.HeaderMap{}
	for range random.IntN(20) {
		f := &corev3.HeaderValue{Key: word()}
		if random.IntN(3) == 0 {
			f.Value = word()
		} else {
			f.RawValue = []byte(word() + "\xff")
		}
		h.Headers = append(h.Headers, f)
	}
	end := random.IntN(2) == 0
	body := &extprocv3.HttpBody{Body: []byte(word()), EndOfStream: end, GrpcMessageCompressed: !end}
	switch random.IntN(7) {
	case 0:
		m.Request = &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: h, EndOfStream: end}}
	case 1:
		m.Request = &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: h, EndOfStream: end}}
	case 2:
		m.Request = &extprocv3.ProcessingRequest_RequestBody{RequestBody: body}
	case 3:
		m.Request = &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: body}
	case 4:
		m.Request = &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: h}}
	case 5:
		m.Request = &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: h}}
	}
	if random.IntN(2) == 0 {
		m.ProtocolConfig = &extprocv3.ProtocolConfiguration{RequestBodyMode: filterv3.ProcessingMode_BodySendMode(random.IntN(6)), ResponseBodyMode: filterv3.ProcessingMode_BodySendMode(random.IntN(6))}
	}
	values := func() *structpb.Struct {
		return &structpb.Struct{Fields: map[string]*structpb.Value{
			"source.address": structpb.NewStringValue(word()), "upstream.request_attempt_count": structpb.NewNumberValue(random.Float64()),
			"a": structpb.NewBoolValue(true), "b": structpb.NewNullValue(), "c": structpb.NewListValue(&structpb.ListValue{}),
		}}
	}
	if random.IntN(2) == 0 {
		m.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": values()}
	}
	if random.IntN(2) == 0 {
		m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"remora": values(), "envoy.lb": values()}}
	}
	return m
}

func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestRequestsAreReadAsTheGeneratedTypesReadThem(t *testing.T) {
	random := seeded(t)
	var r Request
	for range 300 {
		first, err := proto.Marshal(randomRequest(random))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, &r, first)
		second, err := proto.Marshal(randomRequest(random))
		if err != nil {
			t.Fatal(err)
		}
		compare(t, &r, append(first, second...)) // protobuf reads this as one message, merged
		if len(second) > 0 {
			damaged := slices.Clone(second)
			damaged[random.IntN(len(damaged))] ^= 1 << random.IntN(8)
			compare(t, &r, damaged)
			compare(t, &r, second[:random.IntN(len(second))])
		}
	}
}

func FuzzRead(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		b, err := proto.Marshal(randomRequest(random))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x12, 0x02, 0x0a})
	f.Fuzz(func(t *testing.T, message []byte) {
		var r Request
		compare(t, &r, message)
	})
}

// message is r in the generated types.
func (r *Response) message() *extprocv3.ProcessingResponse {
	m := &extprocv3.ProcessingResponse{}
	if i := r.Immediate; i != nil {
		im := &extprocv3.ImmediateResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(i.Status)}, Body: i.Body, Details: i.Details}
		if i.ContentType != "" {
			im.Headers = mutation([]SetHeader{{Name: "content-type", Value: i.ContentType}}, nil)
		}
		m.Response = &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: im}
		return m
	}
	var common *extprocv3.CommonResponse
	if r.changesHeaders() || r.ClearRouteCache || r.HasPiece {
		common = &extprocv3.CommonResponse{HeaderMutation: mutation(r.Set, r.Remove), ClearRouteCache: r.ClearRouteCache}
	}
	if r.HasPiece {
		common.BodyMutation = &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
			StreamedResponse: &extprocv3.StreamedBodyResponse{Body: r.Piece, EndOfStream: r.End},
		}}
	}
	switch r.Kind {
	case RequestHeaders:
		m.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: common}}
	case ResponseHeaders:
		m.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: common}}
	case RequestBody:
		m.Response = &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: common}}
	case ResponseBody:
		m.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: common}}
	case RequestTrailers:
		m.Response = &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{HeaderMutation: mutation(r.Set, r.Remove)}}
	case ResponseTrailers:
		m.Response = &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{HeaderMutation: mutation(r.Set, r.Remove)}}
	}
	if r.Mode.IsSet {
		m.ModeOverride = &filterv3.ProcessingMode{RequestBodyMode: filterv3.ProcessingMode_BodySendMode(r.Mode.RequestBody)}
		if r.Mode.ResponseHeaders {
			m.ModeOverride.ResponseHeaderMode = filterv3.ProcessingMode_SEND
		}
		if r.Mode.RequestTrailers {
			m.ModeOverride.RequestTrailerMode = filterv3.ProcessingMode_SEND
		}
		if r.Mode.ResponseTrailers {
			m.ModeOverride.ResponseTrailerMode = filterv3.ProcessingMode_SEND
		}
	}
	for _, d := range r.Metadata {
		if m.DynamicMetadata == nil {
			m.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		}
		if m.DynamicMetadata.Fields[d.Namespace] == nil {
			m.DynamicMetadata.Fields[d.Namespace] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{}})
		}
		m.DynamicMetadata.Fields[d.Namespace].GetStructValue().Fields[d.Key] = structpb.NewStringValue(d.Text)
	}
	return m
}

func mutation(set []SetHeader, remove []string) *extprocv3.HeaderMutation {
	if len(set) == 0 && len(remove) == 0 {
		return nil
	}
	m := &extprocv3.HeaderMutation{RemoveHeaders: remove}
	for _, h := range set {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if h.Beside {
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h.Name, RawValue: []byte(h.Value)}, AppendAction: action})
	}
	return m
}

// randomResponse has texts of lengths whose own length takes one, two or three bytes.
func randomResponse(random *rand.Rand) *Response {
	lengths := []int{0, 1, 20, 110, 126, 127, 128, 129, 16000, 16383, 16384, 16385, 70000}
	word := func() string { return strings.Repeat("w", lengths[random.IntN(len(lengths))]) }
	r := &Response{Kind: RequestHeaders + Kind(random.IntN(6))}
	if random.IntN(6) == 0 {
		r.Immediate = &Immediate{Status: 1 + random.IntN(599), ContentType: word(), Body: []byte(word()), Details: word()}
		return r
	}
	for range random.IntN(4) {
		r.Set = append(r.Set, SetHeader{"n" + word(), word(), random.IntN(2) == 0})
	}
	for range random.IntN(3) {
		r.Remove = append(r.Remove, "r"+word())
	}
	if r.Kind != RequestTrailers && r.Kind != ResponseTrailers {
		r.ClearRouteCache = random.IntN(2) == 0
		if random.IntN(2) == 0 {
			r.HasPiece, r.Piece, r.End = true, []byte(word()), random.IntN(2) == 0
		}
	}
	if random.IntN(2) == 0 {
		r.Mode = Mode{
			IsSet: true, RequestBody: BodyMode(random.IntN(5)),
			ResponseHeaders: random.IntN(2) == 0, RequestTrailers: random.IntN(2) == 0, ResponseTrailers: random.IntN(2) == 0,
		}
	}
	for i := range random.IntN(3) {
		for j := range 1 + random.IntN(3) {
			r.Metadata = append(r.Metadata, Metadata{strings.Repeat("x", i+1), fmt.Sprint("k", j, word()), word()})
		}
	}
	return r
}

func TestResponsesAreWhatTheGeneratedTypesReadFromThem(t *testing.T) {
	random := seeded(t)
	const before = "before"
	for range 300 {
		r := randomResponse(random)
		b := r.Append([]byte(before))
		if string(b[:len(before)]) != before {
			t.Fatal("what was there before has changed")
		}
		var got extprocv3.ProcessingResponse
		if err := proto.Unmarshal(b[len(before):], &got); err != nil {
			t.Fatalf("%+v cannot be read: %v", r, err)
		}
		if !proto.Equal(&got, r.message()) {
			t.Fatalf("%+v is read as %v", r, &got)
		}
		if size := proto.Size(&got); size != len(b)-len(before) {
			t.Fatalf("%+v takes %d bytes, and could take %d", r, len(b)-len(before), size)
		}
	}
}

func TestAMessageInANestOfMessagesIsSkipped(t *testing.T) {
	var b []byte
	for range 1000 {
		b = protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), b)
	}
	var r Request
	if err := r.Read(b); err != nil || r.Kind != Other {
		t.Errorf("got %v, %v", r.Kind, err)
	}
}

// TestAMessageOfVeryManyPartsIsReadOnce has fields that protobuf merges, two bytes each: to copy what was there before with each of them
// would move a terabyte.
func TestAMessageOfVeryManyPartsIsReadOnce(t *testing.T) {
	for num, want := range map[protowire.Number]int{8: 2, 9: 4} {
		part := protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), []byte{0x7a, 0})
		const n = 500_000
		message := bytes.Repeat(part, n)
		before := bytes.Clone(message)
		var r Request
		if err := r.Read(message); err != nil {
			t.Fatal(err)
		}
		if got := len(r.metadata) + len(r.attributes); got != n*want {
			t.Errorf("field %d: %d bytes are left of %d parts", num, got, n)
		}
		if !bytes.Equal(message, before) {
			t.Errorf("field %d: the message has changed", num)
		}
	}
}

func TestHeadersHaveALimit(t *testing.T) {
	message := func(n int) []byte {
		headers := bytes.Repeat(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), nil), n)
		headers = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), headers)
		return protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), headers)
	}
	var r Request
	if err := r.Read(message(MaxHeaders)); err != nil || len(r.Headers) != MaxHeaders {
		t.Errorf("%d headers: got %d, %v", MaxHeaders, len(r.Headers), err)
	}
	if err := r.Read(message(MaxHeaders + 1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("one more: got %v", err)
	}
	if r.Clear(); cap(r.Headers) > maxKept {
		t.Errorf("room for %d headers is kept", cap(r.Headers))
	}
}

func typicalRequest(tb testing.TB) []byte {
	m := &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{}}
	for _, h := range [][2]string{
		{":authority", "door"},
		{":path", "/hit_backend"},
		{":method", "POST"},
		{":scheme", "http"},
		{"content-type", "application/json"},
		{"content-length", "60"},
		{"x-forwarded-proto", "http"},
		{"x-request-id", "37a749ed-849c-466b-b030-7945e714915c"},
	} {
		m.Headers.Headers = append(m.Headers.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	b, err := proto.Marshal(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: m}, ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: filterv3.ProcessingMode_BUFFERED},
		Attributes: map[string]*structpb.Struct{"f": {Fields: map[string]*structpb.Value{"source.address": structpb.NewStringValue("127.0.0.1:1")}}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

var typicalResponse = Response{
	Kind: RequestBody, ClearRouteCache: true,
	Set: []SetHeader{{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: "ann"}, {Name: "x-remora-endpoint", Value: "MTI3LjAuMS4xOjgwODA="}},
}

func TestNothingIsAllocated(t *testing.T) {
	message, r, buf := typicalRequest(t), &Request{}, make([]byte, 0, 1024)
	n := testing.AllocsPerRun(100, func() {
		if err := r.Read(message); err != nil {
			t.Error(err)
		}
		if v, ok := r.Attribute("source.address"); !ok || v.Text != "127.0.0.1:1" {
			t.Errorf("the address is %v", v)
		}
		buf = typicalResponse.Append(buf[:0])
	})
	if n != 0 {
		t.Errorf("%v allocations for a message and its answer", n)
	}
}

func BenchmarkRead(b *testing.B) {
	message, r := typicalRequest(b), &Request{}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Read(message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = typicalResponse.Append(buf[:0])
	}
}
