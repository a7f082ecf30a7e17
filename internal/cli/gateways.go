package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/kube"
)

// gatewayFlag is --gateway, by which every command that speaks with a running gateway finds it.
type gatewayFlag struct {
	url string
	env Env
}

// gatewayVariable is the environment variable that stands for --gateway.
const gatewayVariable = "REMORA_GATEWAY"

func addGateway(cmd *cobra.Command, env Env, usage string) *gatewayFlag {
	g := &gatewayFlag{env: env}
	cmd.PersistentFlags().StringVar(&g.url, "gateway", "", usage)
	return g
}

// given reports whether a gateway was named at all.
func (g *gatewayFlag) given() bool { return g.url != "" || g.env.Getenv(gatewayVariable) != "" }

// client is the client of the gateway's admin API.
func (g *gatewayFlag) client() (*admin.Client, error) { return clientOf(g.url, g.env) }

// clientOf is the client of an admin API; without a URL, of the one that is meant then.
func clientOf(url string, env Env) (*admin.Client, error) {
	c, err := admin.NewClient(cmp.Or(url, env.Getenv(gatewayVariable), "http://"+admin.DefaultAddress))
	if err != nil {
		return nil, usagef("%v", err)
	}
	return c, nil
}

// advise adds to an error of the API what the person at the terminal can do about it.
func advise(err error) error {
	if unreachable := (*admin.UnreachableError)(nil); errors.As(err, &unreachable) {
		return fmt.Errorf("%w\nIs 'remora serve' or 'remora extproc' running there, and not with --admin off? Give the URL of its admin API with --gateway or in %s", err, gatewayVariable)
	}
	return err
}

// gatewaysFlags say which gateways a command asks: those with the URLs, or all that run in a cluster.
type gatewaysFlags struct {
	urls       []string
	env        Env
	version    string
	kubernetes bool
	cluster    app.Cluster
	selector   string
	adminPort  uint16
}

// gatewaysHelp is the part of the help of each command that asks gateways.
const gatewaysHelp = `The gateway is asked through its admin API: http://` + admin.DefaultAddress + ` unless --gateway or the variable
` + gatewayVariable + ` says otherwise; several are, with as many --gateway. With --kubernetes, all gateways (and processors for
Envoy) that run in a cluster are asked: the running pods with the labels of --selector. The way to them is a port-forward through the
API server, as of kubectl port-forward, so their admin APIs may stay on the pods' loopback interfaces. It takes the rights to list
pods, and to get and create pods/portforward.`

// addGateways adds the flags to a command and those below it.
func addGateways(cmd *cobra.Command, version string, env Env) *gatewaysFlags {
	g := &gatewaysFlags{env: env, version: version}
	f := cmd.PersistentFlags()
	f.StringArrayVar(&g.urls, "gateway", nil, "URL of a gateway's admin API; repeatable (default http://"+admin.DefaultAddress+", or $"+gatewayVariable+")")
	f.BoolVar(&g.kubernetes, "kubernetes", false, "ask all gateways that run in a Kubernetes cluster, in place of --gateway")
	f.StringVar(&g.cluster.Kubeconfig, "kubeconfig", "", "with --kubernetes: kubeconfig file (default: $KUBECONFIG, ~/.kube/config, or in a pod its service account)")
	f.StringVar(&g.cluster.Context, "context", "", "with --kubernetes: context of the kubeconfig (default: its current one)")
	f.StringArrayVarP(&g.cluster.Namespaces, "namespace", "n", nil, "with --kubernetes: namespace of the gateways' pods; repeatable (default: all)")
	f.StringVar(&g.selector, "selector", kube.GatewaySelector, "with --kubernetes: labels of the gateways' pods")
	f.Uint16Var(&g.adminPort, "admin-port", admin.DefaultPort, "with --kubernetes: port of the admin API in the pods")
	return g
}

// several reports whether the answers have to say which gateway they are from.
func (g *gatewaysFlags) several() bool { return g.kubernetes || len(g.urls) > 1 }

// target is a gateway to ask.
type target struct {
	name   string
	client *admin.Client
}

// targets are the gateways to ask, at least one. stop ends the connections to them.
func (g *gatewaysFlags) targets(ctx context.Context, cmd *cobra.Command) (all []target, stop func(), err error) {
	if !g.kubernetes {
		for _, name := range []string{"kubeconfig", "context", "namespace", "selector", "admin-port"} {
			if cmd.Flags().Changed(name) {
				return nil, nil, usagef("--%s is about a cluster; add --kubernetes to ask the gateways that run in it", name)
			}
		}
		all, err := g.named()
		return all, func() {}, err
	}
	if len(g.urls) > 0 {
		return nil, nil, usagef("give either gateways with --gateway or those of a cluster with --kubernetes")
	}
	access, err := g.cluster.Reach(g.version)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	pods, err := access.Gateways(ctx, g.selector)
	if err != nil {
		return nil, nil, err
	}
	for _, pod := range pods {
		dial := func(ctx context.Context) (net.Conn, error) { return access.Dial(ctx, pod, g.adminPort) }
		all = append(all, target{pod.String(), admin.NewClientOver(pod.String(), dial)})
	}
	return all, access.Close, nil
}

// named are the gateways of --gateway, each once; without it, the one that is meant then.
func (g *gatewaysFlags) named() (all []target, err error) {
	urls := g.urls
	if len(urls) == 0 {
		urls = []string{""}
	}
	for _, url := range urls {
		client, err := clientOf(url, g.env)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, func(t target) bool { return t.name == client.Name() }) {
			all = append(all, target{client.Name(), client})
		}
	}
	return all, nil
}

// asks asks the gateways a question and shows the answers, as far as there are any.
func asks[T any](cmd *cobra.Command, g *gatewaysFlags, question func(context.Context, *admin.Client) (T, error), show func([]answer[T]) error) error {
	all, stop, err := g.targets(cmd.Context(), cmd)
	if err != nil {
		return err
	}
	defer stop()
	answers := ask(cmd.Context(), all, question)
	failure := failed(answers)
	if answered := slices.DeleteFunc(answers, func(a answer[T]) bool { return a.err != nil && (len(all) == 1 || hasNot(a.err)) }); len(answered) > 0 {
		if err := show(answered); err != nil {
			return err
		}
	}
	return failure
}

// answer is what a gateway has answered.
type answer[T any] struct {
	Gateway string `json:"gateway"`
	Error   string `json:"error,omitempty"`
	Answer  *T     `json:"answer,omitempty"`

	err error
}

// ask asks all gateways at once.
func ask[T any](ctx context.Context, all []target, question func(context.Context, *admin.Client) (T, error)) []answer[T] {
	answers := make([]answer[T], len(all))
	var asked sync.WaitGroup
	for i, t := range all {
		asked.Go(func() {
			a := answer[T]{Gateway: t.name}
			var said T
			if said, a.err = question(ctx, t.client); a.err == nil {
				a.Answer = &said
			} else {
				a.Error = a.err.Error()
			}
			answers[i] = a
		})
	}
	asked.Wait()
	return answers
}

// hasNot reports whether a gateway has answered that it does not know what it was asked about, which another one may.
func hasNot(err error) bool {
	var problem *admin.Problem
	return errors.As(err, &problem) && slices.Contains([]string{admin.CodeNoSession, admin.CodeUnknownEndpoint, admin.CodeUnknownService}, problem.Code)
}

// failed is the error of a question: where one gateway was asked its own; where several were, that of those that have not answered,
// or when none knows what it was asked about, that.
func failed[T any](answers []answer[T]) error {
	if len(answers) == 1 {
		return advise(answers[0].err)
	}
	var silent []string
	known, unknown := 0, error(nil)
	for _, a := range answers {
		switch {
		case a.err == nil:
			known++
		case hasNot(a.err):
			unknown = a.err
		default:
			silent = append(silent, fmt.Sprintf("%s: %v", a.Gateway, a.err))
		}
	}
	switch {
	case len(silent) > 0:
		return fmt.Errorf("%d of %s did not answer:\n%s", len(silent), counted(len(answers), "gateway"), strings.Join(silent, "\n"))
	case known == 0:
		return fmt.Errorf("none of %s: %w", counted(len(answers), "gateway"), unknown)
	}
	return nil
}
