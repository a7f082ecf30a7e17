// Package kube is the cluster as a source of configuration: it watches the objects that Remora uses in a Kubernetes API server,
// keeps them as a resource.Set, and tells when that has changed. What it writes it is told to write: it decides nothing. Rules has the
// rights that each of its tasks takes.
//
// It knows how objects come from an API server, and neither what they mean nor how their fields are checked: that is what
// Options.Decode is for. What becomes of an object that is invalid is for its callers to decide.
//
// Each kind, in each namespace, has one of client-go's reflectors, which lists and watches. There are no shared informers
// around them, for nothing is shared: the one consumer wants the whole set and not single events.
package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// Options say which cluster, and what of it.
type Options struct {
	Kubeconfig string   // a file; empty: $KUBECONFIG, ~/.kube/config, or in a pod its service account
	Context    string   // of the kubeconfig; empty: its current one
	Namespaces []string // whose objects are watched; empty: all
	UserAgent  string

	Decode Decode
	Log    *slog.Logger // nil: none
}

// Decode reads an object of a custom kind, as JSON has it. The set has the object, or when the list has errors, none.
type Decode func(object map[string]any) (*resource.Set, diag.List)

// errNoCluster is the error where nothing says which cluster is meant.
var errNoCluster = errors.New("there is no kubeconfig and this is no pod: give --kubeconfig, set KUBECONFIG, or write ~/.kube/config; " +
	"in a pod, let automountServiceAccountToken be true")

// Connect prepares to watch a cluster. It asks the API server nothing yet.
func Connect(o Options) (*Cluster, error) {
	config, own, namespaces, err := o.connection()
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{
		Server: config.Host, Namespaces: namespaces, Own: own, log: o.Log, decode: o.Decode, config: config,
		changed: make(chan struct{}, 1), turned: make(chan struct{}, 1), synced: make(chan struct{}),
	}
	if err := errors.Join(c.addSources(), c.addStatus(config)); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return c, nil
}

// connection is how to reach the API server, the program's own namespace, and those that are named, each once.
func (o *Options) connection() (config *rest.Config, own string, namespaces []string, err error) {
	for _, ns := range o.Namespaces {
		if wrong := validation.IsDNS1123Label(ns); len(wrong) > 0 {
			return nil, "", nil, fmt.Errorf("%q is not the name of a namespace: use lower case letters, digits and '-'", ns)
		}
	}
	if config, own, err = o.config(); err != nil {
		return nil, "", nil, err
	}
	config.UserAgent = o.UserAgent
	// The API server's own fair queuing bounds what one client may ask; here are a few lists at the start, and watches.
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	namespaces = slices.Clone(o.Namespaces)
	slices.Sort(namespaces)
	return config, own, slices.Compact(namespaces), nil
}

// config finds out how to reach the API server, as kubectl does, and which namespace is the program's own.
func (o *Options) config() (config *rest.Config, own string, err error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	loaded := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	if config, err = loaded.ClientConfig(); err == nil {
		own, _, err = loaded.Namespace()
	}
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, "", errNoCluster
	case err != nil:
		return nil, "", fmt.Errorf("the kubeconfig: %w", err)
	}
	return config, own, nil
}
