package istio

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/route"
)

// retryPolicies are the words of retries.retryOn, next to HTTP status codes (Istio 1.31, pkg/config/validation; Envoy's x-envoy-retry-on and
// x-envoy-retry-grpc-on).
var retryPolicies = []string{
	"5xx", "cancelled", "connect-failure", "deadline-exceeded", "envoy-ratelimited", "gateway-error", "http3-post-connect-failure", "internal", "refused-stream",
	"reset", "reset-before-request", "resource-exhausted", "retriable-4xx", "retriable-headers", "retriable-status-codes", "unavailable",
}

// checkForwarding checks what a rule says for the proxy alone: what Istio's own validation refuses (pkg/config/validation, and the rules in its
// CustomResourceDefinitions), no cluster has, and in a file it would be found when it is applied.
func (c *compiler) checkForwarding(o vsObject, field string, in *networking.HTTPRoute) {
	if !c.proxied {
		return // refused already
	}
	f := forwarding{c, o, field, in}
	f.duration(".timeout", in.GetTimeout())
	f.duration(".corsPolicy.maxAge", in.GetCorsPolicy().GetMaxAge())
	f.retries()
	f.fault()
	f.mirrors()
	f.answers()
	f.rewrite()
}

type forwarding struct {
	c     *compiler
	o     vsObject
	field string // spec.http[0]
	in    *networking.HTTPRoute
}

func (f forwarding) refuse(field, what, remedy string) { f.c.errorAt(f.o, f.field+field, what, remedy) }

func (f forwarding) duration(field string, d *durationpb.Duration) {
	if d != nil && (d.CheckValid() != nil || d.AsDuration() < time.Millisecond) {
		f.refuse(field, fmt.Sprintf("%s is not a time of 1ms or more", d.AsDuration()), "write one, or leave it away")
	}
}

func (f forwarding) percentage(field string, p *networking.Percent) {
	if v := p.GetValue(); v < 0 || v > 100 {
		f.refuse(field, fmt.Sprintf("%v is not a percentage", v), "write 0 to 100")
	}
}

func (f forwarding) status(field string, status int64) {
	if status < 200 || status > 599 {
		f.refuse(field, fmt.Sprintf("%d is not an HTTP status of 200 to 599", status), "")
	}
}

func (f forwarding) retries() {
	r := f.in.GetRetries()
	switch {
	case r == nil:
		return
	case r.GetAttempts() < 0:
		f.refuse(".retries.attempts", fmt.Sprintf("%d is negative", r.GetAttempts()), "write how many tries there are after the first, or leave retries away")
	case r.GetAttempts() == 0 && (r.PerTryTimeout != nil || r.GetRetryOn() != "" || r.GetRetryRemoteLocalities() != nil):
		f.refuse(".retries.attempts", "attempts is 0, or not there, beside what says how to try again", "write how many tries there are after the first, or attempts: 0 alone for none")
	}
	f.duration(".retries.perTryTimeout", r.GetPerTryTimeout())
	f.duration(".retries.backoff", r.GetBackoff())
	if r.GetRetryOn() == "" {
		return
	}
	for word := range strings.SplitSeq(r.GetRetryOn(), ",") {
		if code, err := strconv.Atoi(word); err == nil && http.StatusText(code) != "" || slices.Contains(retryPolicies, word) {
			continue
		}
		remedy := "known are HTTP status codes and " + strings.Join(retryPolicies, ", ")
		if near := diag.Nearest(word, retryPolicies); near != "" {
			remedy = "did you mean " + near + "?"
		}
		// Not an error: a later version of Istio may know it.
		f.c.warnAt(f.o, f.field+".retries.retryOn", fmt.Sprintf("%q is no condition for a retry that Istio knows, which refuses the VirtualService", word), remedy)
	}
}

func (f forwarding) fault() {
	fault := f.in.GetFault()
	if fault == nil {
		return
	}
	abort, delay := fault.GetAbort(), fault.GetDelay()
	if abort == nil && delay == nil {
		f.refuse(".fault", "the fault is neither an abort nor a delay", "write abort: or delay:, or leave it away")
	}
	if code, is := abort.GetErrorType().(*networking.HTTPFaultInjection_Abort_HttpStatus); is {
		f.status(".fault.abort.httpStatus", int64(code.HttpStatus))
	}
	f.percentage(".fault.abort.percentage", abort.GetPercentage())
	f.percentage(".fault.delay.percentage", delay.GetPercentage())
	f.duration(".fault.delay.fixedDelay", delay.GetFixedDelay())
}

// mirrors checks where copies of requests go: nobody waits for their replies, so that one for a service that is not there is only lost.
func (f forwarding) mirrors() {
	f.percentage(".mirrorPercentage", f.in.GetMirrorPercentage())
	f.mirror(".mirror", f.in.GetMirror())
	for i, m := range f.in.GetMirrors() {
		at := fmt.Sprintf(".mirrors[%d]", i)
		if m.GetDestination() == nil {
			f.refuse(at+".destination", "the mirror has no destination", "name the service under destination.host")
		}
		f.mirror(at+".destination", m.GetDestination())
		f.percentage(at+".percentage", m.GetPercentage())
	}
}

func (f forwarding) mirror(field string, d *networking.Destination) {
	if d == nil {
		return
	}
	if wrong := checkHost(d.GetHost()); wrong != "" || d.GetHost() == "*" {
		f.refuse(field+".host", cmp.Or(wrong, "* is no destination"), "name the service")
		return
	}
	host := strings.ToLower(fullHost(d.GetHost(), f.o.Value.Namespace))
	if f.c.registry.services[host] == nil {
		f.c.warnAt(f.o, f.field+field+".host", "there is no service "+host+": copies of requests go nowhere", f.c.registry.instead(host))
	}
}

// answers checks what the proxy answers by itself.
func (f forwarding) answers() {
	if d := f.in.GetDirectResponse(); d != nil {
		f.status(".directResponse.status", int64(d.GetStatus()))
	}
	r := f.in.GetRedirect()
	if r == nil {
		return
	}
	if r.GetUri() == "" && r.GetAuthority() == "" && r.GetScheme() == "" && r.GetRedirectPort() == nil {
		f.refuse(".redirect", "the redirect leads to where the request came to", "write uri, authority, scheme or port")
	}
	if code := r.GetRedirectCode(); code != 0 && (code < 300 || code > 399) {
		f.refuse(".redirect.redirectCode", fmt.Sprintf("%d is not the status of a redirect", code), "write 301, 302, 303, 307 or 308")
	}
	if s := r.GetScheme(); s != "" && s != "http" && s != "https" {
		f.refuse(".redirect.scheme", fmt.Sprintf("%q is not a scheme for HTTP", s), "write http or https")
	}
	for _, other := range []struct {
		name string
		set  bool
	}{{"fault", f.in.GetFault() != nil}, {"rewrite", f.in.GetRewrite() != nil}} {
		if other.set {
			f.refuse("."+other.name, "a rule with a redirect cannot have this", "remove one of the two")
		}
	}
}

func (f forwarding) rewrite() {
	w := f.in.GetRewrite()
	if w == nil {
		return
	}
	regex := w.GetUriRegexRewrite()
	switch {
	case w.GetUri() != "" && regex != nil:
		f.refuse(".rewrite", "uri and uriRegexRewrite exclude each other", "remove one of the two")
	case w.GetUri() == "" && w.GetAuthority() == "" && regex == nil:
		f.refuse(".rewrite", "the rewrite changes nothing", "write uri, uriRegexRewrite or authority")
	case regex != nil && (regex.GetMatch() == "" || regex.GetRewrite() == ""):
		f.refuse(".rewrite.uriRegexRewrite", "match or rewrite is missing", "write both")
	case regex != nil:
		if err := route.CheckRegex(regex.GetMatch()); err != nil {
			f.refuse(".rewrite.uriRegexRewrite.match", err.Error(), "expressions are RE2, without look-around and back references")
		}
	}
}
