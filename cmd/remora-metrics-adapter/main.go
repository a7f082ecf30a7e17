// Command remora-metrics-adapter serves custom.metrics.k8s.io, the API that a HorizontalPodAutoscaler reads: remora_live_sessions of
// pods and of Services, summed up over all gateways. The API server is its only client; it holds nothing and decides nothing.
//
// It is a program and a module of its own, because the library under it, which is the API server's own, is larger than all of Remora:
// docs/kubernetes.md has the figures.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/component-base/logs"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/livesessions"
)

const name = "remora-metrics-adapter"

func main() {
	logs.InitLogs()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	logs.FlushLogs()
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	adapter := &cmd.AdapterBase{Name: name, FlagSet: flags}
	gateways := flags.StringArray("gateways", []string{"remora-system/remora-gateway:9090"},
		"NAMESPACE/NAME:PORT: a Service whose pods are gateways, and the port of their --metrics; repeatable")
	adapter.InstallFlags()
	// A certificate is made in memory, unless there is one: no folder has to be writable.
	adapter.SecureServing.ServerCert.CertDirectory = ""
	adapter.SecureServing.BindPort = 6443
	adapter.Features.EnableProfiling = false
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("there is no argument %q, only flags: see --help", flags.Arg(0))
	}
	live, err := newProvider(adapter, *gateways)
	if err != nil {
		return err
	}
	adapter.WithCustomMetrics(live)
	return adapter.Run(ctx)
}

func newProvider(adapter *cmd.AdapterBase, gateways []string) (*liveSessions, error) {
	var services []livesessions.Service
	for _, g := range gateways {
		s, err := livesessions.ParseService(g)
		if err != nil {
			return nil, fmt.Errorf("--gateways: %w", err)
		}
		services = append(services, s)
	}
	config, err := adapter.ClientConfig()
	if err != nil {
		return nil, err
	}
	discovery, err := discoveryclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	objects, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	slices := func(ctx context.Context, namespace string, o metav1.ListOptions) (*discoveryv1.EndpointSliceList, error) {
		return discovery.EndpointSlices(namespace).List(ctx, o)
	}
	return &liveSessions{objects: objects, reader: &livesessions.Reader{Gateways: livesessions.InServices(slices, services), Ask: ask}}, nil
}

// ask asks one gateway for its sessions.
func ask(ctx context.Context, gateway netip.AddrPort) (*livesessions.Answer, error) {
	client, err := admin.NewClient(gateway.String())
	if err != nil {
		return nil, err
	}
	live, err := client.Live(ctx)
	if err != nil {
		return nil, err
	}
	answer := &livesessions.Answer{Store: live.Store, Loads: make([]livesessions.Load, len(live.Endpoints))}
	for i, ep := range live.Endpoints {
		answer.Loads[i] = livesessions.Load{Service: ep.Service, Addr: ep.Addr, Incarnation: ep.Incarnation, Sessions: ep.Sessions}
	}
	return answer, nil
}
