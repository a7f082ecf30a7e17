package extproc_test

import (
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/route"
)

// TestARequestThatEnvoyAnswersGoesOnWithoutAnEndpoint is about rules with a redirect or a directResponse.
func TestARequestThatEnvoyAnswersGoesOnWithoutAnEndpoint(t *testing.T) {
	const (
		duplex = filterv3.ProcessingMode_FULL_DUPLEX_STREAMED
		body   = `{"target":"old","username":"ann"}`
	)
	isJSON := []string{"content-type", "application/json"}
	served := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}}
	served.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {Fields: map[string]*structpb.Value{
		"x-gateway-destination-endpoint-served": structpb.NewStringValue("127.0.1.9:8080"),
	}}}}
	for _, c := range []struct {
		name string
		say  []*extprocv3.ProcessingRequest
		want []string
	}{
		{
			"by its headers",
			[]*extprocv3.ProcessingRequest{headers(true, buffered, "target", "old", "x-user", "ann")},
			[]string{"headers, body not wanted, x-remora-endpoint=-, route anew"},
		},
		{
			"by its body, whose fields Envoy's routes see",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, isJSON...), bodyOf(body)},
			[]string{"headers, body wanted", "body, target=old, x-user=ann, x-remora-endpoint=-, route anew"},
		},
		{
			"in full duplex",
			[]*extprocv3.ProcessingRequest{headers(true, duplex, "target", "old")},
			[]string{"headers, x-remora-endpoint=-, route anew"},
		},
		{
			"forged headers are taken away, other spellings of what decides too, and the path is brought to its normal form",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, "target", "old", "x-remora-service", "backend-1", "x-remora-session", "new", "x_user", "1", ":path", "/a/../b")},
			[]string{"headers, body not wanted, x-remora-endpoint=-, :path=/b, no x-remora-service, no x-remora-session, no x_user, route anew"},
		},
		{
			"trailers, and a proxy that says who served it",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, "target", "old"), trailers("x-remora-service", "x_user", "checksum"), served},
			[]string{"headers, body not wanted, x-remora-endpoint=-, route anew", "trailers, no x-remora-service, no x_user", "response headers"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := doortest.Config([]string{"127.0.1.1:8080"})
			host := &config.Routes.Listeners[0].Hosts[0]
			host.Rules = append(host.Rules, route.Rule{ByProxy: "redirect", Matches: []route.Match{{
				Headers: []route.NamedMatch{{Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: "old"}}},
			}}})
			e := engineOf(t, config)
			stream := open(t, connect(t, serve(t, extproc.Config{Engine: e})))
			if got := say(t, stream, c.say...); !slices.Equal(got, c.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
			}
			if st := e.Stats(); st.Passed != 1 || st.Sessions != 0 {
				t.Errorf("counted %d passed and %d sessions", st.Passed, st.Sessions)
			}
		})
	}
}
