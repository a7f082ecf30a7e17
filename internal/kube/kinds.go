package kube

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/resource"
)

// kind is a kind of object that is watched.
type kind struct {
	name     string // Gateway; Gateway.gateway.networking.k8s.io for the other kind of that name
	group    string
	version  string
	resource string // gateways
	custom   bool   // defined by a CustomResourceDefinition, so it may not be there
}

// kinds are all kinds that are watched. Istio serves version v1 of its own since 1.22, the Gateway API since 1.0; of ReferenceGrant only newer
// clusters have v1.
var kinds = []*kind{
	{"Gateway", "networking.istio.io", "v1", "gateways", true},
	{"VirtualService", "networking.istio.io", "v1", "virtualservices", true},
	{"DestinationRule", "networking.istio.io", "v1", "destinationrules", true},
	{"ServiceEntry", "networking.istio.io", "v1", "serviceentries", true},
	{resource.GatewayAPIGateway, "gateway.networking.k8s.io", "v1", "gateways", true},
	{"HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes", true},
	{"ReferenceGrant", "gateway.networking.k8s.io", "v1beta1", "referencegrants", true},
	{v1alpha1.Kind, v1alpha1.Group, v1alpha1.Version, v1alpha1.Resource, true},
	{"Service", "", "v1", "services", false},
	{"EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", false},
	podKind,
}

// podKind is watched by its metadata alone: spec and status, which are most of a pod and change all the time, are not sent.
var podKind = &kind{"Pod", "", "v1", "pods", false}

// client lists and watches the objects of one kind in a namespace, or with an empty namespace in all.
type client interface {
	list(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error)
	watch(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error)
}

// clients makes the client of each kind.
func clients(config *rest.Config, meta metadata.Interface) (map[*kind]client, error) {
	custom, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	all := make(map[*kind]client, len(kinds))
	for _, k := range kinds {
		gv := schema.GroupVersion{Group: k.group, Version: k.version}
		switch {
		case k.custom:
			all[k] = customClient{custom.Resource(gv.WithResource(k.resource))}
			continue
		case k == podKind:
			all[k] = metadataClient{meta.Resource(gv.WithResource(k.resource))}
			continue
		}
		if all[k], err = newBuiltInClient(config, gv, k.resource); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// customClient speaks JSON, in which nothing is lost that a schema of ours does not know.
type customClient struct {
	dynamic.NamespaceableResourceInterface
}

func (c customClient) list(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	return c.Namespace(namespace).List(ctx, o)
}

func (c customClient) watch(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
	return c.Namespace(namespace).Watch(ctx, o)
}

// metadataClient gets only the metadata of objects.
type metadataClient struct {
	metadata.Getter
}

func (c metadataClient) list(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	return c.Namespace(namespace).List(ctx, o)
}

func (c metadataClient) watch(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
	return c.Namespace(namespace).Watch(ctx, o)
}

// builtInClient speaks protobuf, which costs both sides a fraction of what JSON does. Fields that are newer than this program
// are dropped: it may not refuse an object for what a newer Kubernetes adds to it.
type builtInClient struct {
	rest     *rest.RESTClient
	resource string
	codec    runtime.ParameterCodec
}

func newBuiltInClient(base *rest.Config, gv schema.GroupVersion, resource string) (*builtInClient, error) {
	c, scheme, err := newRESTClient(base, gv)
	if err != nil {
		return nil, err
	}
	return &builtInClient{c, resource, runtime.NewParameterCodec(scheme)}, nil
}

// newRESTClient makes a client for the built-in kinds of a group.
func newRESTClient(base *rest.Config, gv schema.GroupVersion) (*rest.RESTClient, *runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, nil, err
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config := rest.CopyConfig(base)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c, err := rest.RESTClientFor(config)
	return c, scheme, err
}

func (c *builtInClient) request(namespace string, o *metav1.ListOptions) *rest.Request {
	return c.rest.Get().NamespaceIfScoped(namespace, namespace != "").Resource(c.resource).VersionedParams(o, c.codec)
}

func (c *builtInClient) list(ctx context.Context, namespace string, o metav1.ListOptions) (runtime.Object, error) {
	return c.request(namespace, &o).Do(ctx).Get()
}

func (c *builtInClient) watch(ctx context.Context, namespace string, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	return c.request(namespace, &o).Watch(ctx)
}

// example is an object of the Go type that the client gives.
func (k *kind) example() runtime.Object {
	switch {
	case k.custom:
		return &unstructured.Unstructured{}
	case k.name == "Service":
		return &corev1.Service{}
	case k == podKind:
		return &metav1.PartialObjectMetadata{}
	default:
		return &discoveryv1.EndpointSlice{}
	}
}
