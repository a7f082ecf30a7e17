package cli

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/generate"
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

Exit status: 0 done, warnings included; 1 an error among the findings; 2 wrong command line.`

func newGenerateIstio(env Env) *cobra.Command {
	var files, listeners []string
	var check bool
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
	f.BoolVar(&check, "check", false, "write only what would not work, and how to mend it")
	f.StringVar(&o.Namespace, "namespace", "remora-system", "namespace of the processor; it is made")
	f.StringVar(&o.GatewayNamespace, "gateway-namespace", "istio-system", "namespace of the gateway's pods")
	f.StringVar(&o.Image, "image", "remora:latest", "image of the processor, with its registry where the nodes do not have it")
	f.IntVar(&o.Replicas, "replicas", 1, "number of processors, 1 to 100; they do not share their sessions, so that more than one is for routing by the body without sessions")
	f.BoolVar(&o.FailOpen, "fail-open", false, "without a processor, let requests go on by Istio's own routing (default: they get 503)")
	f.DurationVar(&o.MessageTimeout, "message-timeout", time.Second, "time for an answer of the processor, 10ms to 1m; then requests get 503, or go on with --fail-open")
	f.StringVar(&accessLog, "access-log", "off", accessLogUsage+"; beside what the mesh has the gateway write")
	f.StringArrayVar(&listeners, "listener-port", nil, "PORT=TARGETPORT of the gateway's Service, where Gateways have several ports and it is not 80=8080 or 443=8443; repeatable")
	cmd.RunE = runs(func(*cobra.Command, []string) (err error) {
		if o.ListenerPorts, err = parsePorts(listeners); err != nil {
			return err
		}
		if err := oneOf("access-log", accessLog, "off", "json"); err != nil {
			return err
		}
		o.AccessLog = accessLog == "json"
		if err := checkIstioFlags(&o); err != nil {
			return err
		}
		loaded := app.LoadWith(files, env.Stdin, config.Options{NoSlices: true, Proxied: true})
		findings := loaded.Diagnostics
		if !findings.HasErrors() {
			findings = append(findings, generate.CheckIstio(loaded.Set, loaded.Config, o)...)
			findings.Sort()
		}
		if done, err := judge(env, findings, check); done {
			return err
		}
		_, err = io.WriteString(env.Stdout, generate.Istio(loaded.Set, loaded.Config, o))
		return err
	})
	return cmd
}

// checkIstioFlags checks what the API server would refuse.
func checkIstioFlags(o *generate.IstioOptions) error {
	for _, f := range []struct{ flag, value string }{{"namespace", o.Namespace}, {"gateway-namespace", o.GatewayNamespace}} {
		if err := checkNamespace(f.flag, f.value); err != nil {
			return err
		}
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

// judge prints findings about objects that are to be written: to standard output where they alone are asked for (check). done says that
// nothing is to be written.
func judge(env Env, findings diag.List, check bool) (done bool, err error) {
	if check {
		printDiagnostics(env.Stdout, findings)
	} else {
		printDiagnostics(env.Stderr, findings)
	}
	errs, warnings := countFindings(findings)
	switch {
	case errs > 0:
		return true, fmt.Errorf("it would not work: %s and %s", counted(errs, "error"), counted(warnings, "warning"))
	case check:
		fmt.Fprintf(env.Stdout, "it would work: %s\n", counted(warnings, "warning"))
	}
	return check, nil
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
