package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
)

// sourceFlags say where the configuration comes from: files, or a cluster.
type sourceFlags struct {
	files      []string
	kubernetes bool
	cluster    app.Cluster
	timeout    time.Duration // of load, with a cluster
}

// clusterPatience is how long a cluster is waited for.
const clusterPatience = 30 * time.Second

// addSource adds the flags of the source.
func addSource(cmd *cobra.Command) *sourceFlags {
	s := &sourceFlags{}
	addFiles(cmd, &s.files)
	f := cmd.Flags()
	f.BoolVar(&s.kubernetes, "kubernetes", false, "take the configuration from the objects of a Kubernetes cluster, in place of -f")
	f.StringVar(&s.cluster.Kubeconfig, "kubeconfig", "", "with --kubernetes: kubeconfig file (default: $KUBECONFIG, ~/.kube/config, or in a pod its service account)")
	f.StringVar(&s.cluster.Context, "context", "", "with --kubernetes: context of the kubeconfig (default: its current one)")
	f.StringArrayVarP(&s.cluster.Namespaces, "namespace", "n", nil, "with --kubernetes: namespace whose objects are read; repeatable (default: all)")
	return s
}

// addTimeout adds --timeout to a command that reads the source once.
func (s *sourceFlags) addTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&s.timeout, "timeout", clusterPatience, "with --kubernetes: how long the cluster's objects are waited for")
}

// given reports whether there is a source, and what is wrong with the flags.
func (s *sourceFlags) given(cmd *cobra.Command) (bool, error) {
	if s.kubernetes {
		if len(s.files) > 0 {
			return false, usagef("give either files with -f or a cluster with --kubernetes")
		}
		return true, nil
	}
	for _, name := range []string{"kubeconfig", "context", "namespace"} {
		if cmd.Flags().Changed(name) {
			return false, usagef("--%s says which cluster is meant; add --kubernetes to take the configuration from it", name)
		}
	}
	if s.timeout != 0 && cmd.Flags().Changed("timeout") {
		return false, usagef("--timeout is how long a cluster is waited for; add --kubernetes")
	}
	return len(s.files) > 0, nil
}

// addProxied adds the flags that say whose Envoy a configuration is compiled for, one that reads the same objects by itself.
func addProxied(cmd *cobra.Command, proxied *bool) {
	cmd.Flags().BoolVar(proxied, "istio", false, "the Envoy is Istio's: accept what it does by itself, such as timeouts, retries, rewrites and TLS")
	cmd.Flags().BoolVar(proxied, "envoy-gateway", false, "the Envoy is Envoy Gateway's: accept what it does by itself, such as filters, timeouts and TLS")
}

// required refuses to run a command without a source.
func (s *sourceFlags) required(cmd *cobra.Command) error {
	given, err := s.given(cmd)
	if err == nil && !given {
		err = usagef("give the configuration with -f, or with --kubernetes the cluster that has it")
	}
	return err
}

// load reads the source once.
func (s *sourceFlags) load(ctx context.Context, version string, env Env, o config.Options) (*app.Loaded, error) {
	if !s.kubernetes {
		return app.LoadWith(s.files, env.Stdin, o), nil
	}
	if s.timeout <= 0 {
		return nil, usagef("--timeout %s is not over 0s", s.timeout)
	}
	ctx, stop := interruptible(ctx, env)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, fmt.Errorf("gave up after %s (--timeout)", s.timeout))
	defer cancel()
	return app.LoadCluster(ctx, version, s.cluster, o)
}
