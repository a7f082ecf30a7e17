package cli

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/route"
)

// maxReplicas bounds --replicas.
const maxReplicas = 100

// imageName is what --image may be: what is left for its registry to judge has no meaning in YAML.
var imageName = regexp.MustCompile(`^[a-z0-9]([A-Za-z0-9._/:@-]*[A-Za-z0-9])?$`)

const generateIstioLong = `Write what a mesh needs so that its ingress gateway asks Remora: an EnvoyFilter for the gateway's pods, and the processor's
Deployment, Service, DestinationRule, ServiceAccount and RBAC. All of it can be applied with kubectl. The Gateways,
VirtualServices and DestinationRules stay as they are.

PATH is files and folders with the Gateways, VirtualServices, DestinationRules, Services, ServiceEntries and AffinityPolicies.
EndpointSlices are not needed: in the cluster the processor reads them itself.

--check writes nothing but what would not work with them and how to mend it, one finding a line, as remora validate does.
Without it warnings go to standard error, and an error leaves standard output empty.

Exit status: 0 done, warnings included; 1 an error among the findings, with --check also when no request would come to a replica, and with
--strict a warning; 2 wrong command line.`

func newGenerateIstio(env Env) *cobra.Command {
	var files, listeners []string
	var accessLog string
	var o generate.IstioOptions
	cmd := &cobra.Command{
		Use:   "istio -f PATH…",
		Short: "Write the objects that make Istio's ingress gateway ask Remora",
		Long:  generateIstioLong,
		Example: `  remora generate istio -f examples/hit-backend --image remora:latest | kubectl apply -f -
  remora generate istio -f examples/hit-backend --check
  kubectl get gateways.networking.istio.io,virtualservices,destinationrules,serviceentries,services,affinitypolicies -A -o yaml | remora generate istio -f - --check`,
		Args: noArgs,
	}
	addFiles(cmd, &files)
	required(cmd, "filename", "the configuration")
	f := cmd.Flags()
	check := addCheck(cmd)
	f.StringVar(&o.Namespace, "namespace", "remora-system", "namespace of the processor; it is made")
	f.StringVar(&o.GatewayNamespace, "gateway-namespace", "istio-system", "namespace of the gateway's pods")
	f.StringVar(&o.Image, "image", "remora:latest", "image of the processor, with its registry where the nodes do not have it")
	addProcessors(cmd, &o.Replicas, &o.Store)
	f.BoolVar(&o.FailOpen, "fail-open", false, "without a processor, let requests go on by Istio's own routing (default: they get 503)")
	f.DurationVar(&o.MessageTimeout, "message-timeout", time.Second, "time for an answer of the processor, 10ms to 1m; then requests get 503, or go on with --fail-open")
	f.StringVar(&accessLog, "access-log", "off", accessLogUsage+"; beside what the mesh has the gateway write")
	f.StringArrayVar(&listeners, "listener-port", nil, "PORT=TARGETPORT of the gateway's Service, where Gateways have several ports and it is not 80=8080 or 443=8443; repeatable")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) (err error) {
		if o.ListenerPorts, err = parsePorts(listeners); err != nil {
			return err
		}
		if err := oneOf("access-log", accessLog, "off", "json"); err != nil {
			return err
		}
		o.AccessLog = accessLog == "json"
		if err := checkIstioFlags(cmd, &o); err != nil {
			return err
		}
		loaded := app.LoadWith(files, env.Stdin, config.Options{NoSlices: true, Proxied: true})
		findings := loaded.Diagnostics
		if !findings.HasErrors() {
			findings = append(findings, generate.CheckIstio(loaded.Set, loaded.Config, o)...)
			findings.Sort()
		}
		if done, err := check.judge(env, findings, loaded.Config); done {
			return err
		}
		_, err = io.WriteString(env.Stdout, generate.Istio(loaded.Set, loaded.Config, o))
		return err
	})
	return cmd
}

// checkIstioFlags checks what the API server would refuse.
func checkIstioFlags(cmd *cobra.Command, o *generate.IstioOptions) error {
	for _, f := range []struct{ flag, value string }{{"namespace", o.Namespace}, {"gateway-namespace", o.GatewayNamespace}} {
		if err := checkNamespace(f.flag, f.value); err != nil {
			return err
		}
	}
	if err := checkStore(cmd, &o.Replicas, o.Store); err != nil {
		return err
	}
	return checkProcessorFlags(o.Image, o.Replicas, o.MessageTimeout)
}

func checkNamespace(flag, value string) error {
	if wrong := validation.IsDNS1123Label(value); len(wrong) > 0 {
		return usagef("--%s %q is not the name of a namespace: use lower case letters, digits and '-'", flag, value)
	}
	return nil
}

// checkProcessorFlags checks what says how the processor runs in a cluster.
func checkProcessorFlags(image string, replicas int, messageTimeout time.Duration) error {
	switch {
	case !imageName.MatchString(image):
		return usagef("--image %q is not the name of an image; give one like remora:latest", image)
	case replicas < 1 || replicas > maxReplicas:
		return usagef("--replicas %d is not in 1 to %d", replicas, maxReplicas)
	case messageTimeout < 10*time.Millisecond || messageTimeout > time.Minute:
		return usagef("--message-timeout %s is not in 10ms to 1m", messageTimeout)
	}
	return nil
}

// checkFlags say what is done with findings about objects that are to be written.
type checkFlags struct{ check, strict bool }

func addCheck(cmd *cobra.Command) *checkFlags {
	c := &checkFlags{}
	cmd.Flags().BoolVar(&c.check, "check", false, "write only what would not work, and how to mend it")
	cmd.Flags().BoolVar(&c.strict, "strict", false, "fail on warnings as well")
	return c
}

// judge prints findings: to standard output where they alone are asked for. done says that nothing is to be written. config is what the
// objects were compiled to, or nil.
func (c *checkFlags) judge(env Env, l diag.List, config *affinity.Config) (done bool, err error) {
	if c.check {
		printDiagnostics(env.Stdout, l)
	} else {
		printDiagnostics(env.Stderr, l)
	}
	found := countFindings(l)
	switch {
	case config == nil: // an object is invalid, and the others were not looked at together
		return true, fmt.Errorf("it would not work: %s, and so far %s", counted(found.errors, "error"), found.told())
	case found.errors > 0:
		return true, fmt.Errorf("it would not work: %s and %s", counted(found.errors, "error"), found.told())
	case c.strict && found.warnings > 0:
		return true, fmt.Errorf("%s; --strict allows none", found.told())
	case !c.check:
		return false, nil
	case !serves(config):
		return true, fmt.Errorf("it would not work: no request would come to a replica; %s", found.told())
	case found.unserved > 0:
		fmt.Fprintf(env.Stdout, "not all of it would work: %s\n", found.told())
	default:
		fmt.Fprintf(env.Stdout, "it would work: %s\n", found.told())
	}
	return true, nil
}

// serves reports whether a request can come to a service that is there, or be answered by the proxy itself.
func serves(c *affinity.Config) bool {
	for _, l := range c.Routes.Listeners {
		for _, h := range l.Hosts {
			for _, r := range h.Rules {
				if r.ByProxy != "" || slices.ContainsFunc(r.Destinations, func(d route.Destination) bool { return c.Services[d.Service].Missing == "" }) {
					return true
				}
			}
		}
	}
	return false
}

// parsePorts reads elements like 80=8080.
func parsePorts(in []string) (map[uint16]uint16, error) {
	out := map[uint16]uint16{}
	for _, s := range in {
		left, right, _ := strings.Cut(s, "=")
		from, err := strconv.ParseUint(left, 10, 16)
		to, err2 := strconv.ParseUint(right, 10, 16)
		if err != nil || err2 != nil || from == 0 || to == 0 {
			return nil, usagef("--listener-port %q is not PORT=TARGETPORT; give it like 80=8080", s)
		}
		out[uint16(from)] = uint16(to)
	}
	return out, nil
}
