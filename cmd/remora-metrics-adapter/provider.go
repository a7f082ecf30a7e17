package main

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"

	"github.com/remora-proxy/remora/internal/livesessions"
)

// metricName is the one metric that is served.
const metricName = "remora_live_sessions"

// described are the kinds of object that have it.
var described = map[schema.GroupResource]string{
	{Resource: "pods"}:     "Pod",
	{Resource: "services"}: "Service",
}

// liveSessions is the provider of the metric. Labels and uids of objects are asked of the API server each time: nothing has to be
// kept of thousands of pods for a few questions in 15 seconds.
type liveSessions struct {
	objects metadata.Interface
	reader  *livesessions.Reader
}

// ListAllMetrics implements provider.CustomMetricsProvider.
func (l *liveSessions) ListAllMetrics() []provider.CustomMetricInfo {
	var all []provider.CustomMetricInfo
	for r := range described {
		all = append(all, provider.CustomMetricInfo{GroupResource: r, Namespaced: true, Metric: metricName})
	}
	return all
}

// GetMetricByName implements provider.CustomMetricsProvider.
func (l *liveSessions) GetMetricByName(ctx context.Context, name types.NamespacedName, info provider.CustomMetricInfo, metricSelector labels.Selector) (*custom_metrics.MetricValue, error) {
	if err := check(info, metricSelector); err != nil {
		return nil, err
	}
	object, err := l.of(info).Namespace(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	counts, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	value, known := valueOf(object, info, counts)
	if !known {
		return nil, provider.NewMetricNotFoundForError(info.GroupResource, info.Metric, name.Name)
	}
	return &value, nil
}

// GetMetricBySelector implements provider.CustomMetricsProvider. An object that no gateway knows is left out: the autoscaler has rules for
// pods without a value.
func (l *liveSessions) GetMetricBySelector(ctx context.Context, namespace string, selector labels.Selector, info provider.CustomMetricInfo, metricSelector labels.Selector) (*custom_metrics.MetricValueList, error) {
	if err := check(info, metricSelector); err != nil {
		return nil, err
	}
	objects, err := l.of(info).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String(), ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	counts, err := l.read(ctx)
	if err != nil {
		return nil, err
	}
	list := &custom_metrics.MetricValueList{}
	for i := range objects.Items {
		if value, known := valueOf(&objects.Items[i], info, counts); known {
			list.Items = append(list.Items, value)
		}
	}
	return list, nil
}

func (l *liveSessions) of(info provider.CustomMetricInfo) metadata.Getter {
	return l.objects.Resource(info.GroupResource.WithVersion("v1"))
}

// read reads the counts. Without them the answer is 503, on which an autoscaler leaves the replicas as they are.
func (l *liveSessions) read(ctx context.Context) (*livesessions.Counts, error) {
	counts, err := l.reader.Read(ctx)
	if err != nil {
		return nil, apierrors.NewServiceUnavailable(err.Error())
	}
	return counts, nil
}

// check refuses what is not served.
func check(info provider.CustomMetricInfo, metricSelector labels.Selector) error {
	if _, is := described[info.GroupResource]; !is || info.Metric != metricName || !info.Namespaced {
		return provider.NewMetricNotFoundError(info.GroupResource, info.Metric)
	}
	if !metricSelector.Empty() {
		return apierrors.NewBadRequest(metricName + " has no labels to select by; leave metric.selector out")
	}
	return nil
}

// valueOf is the metric of one object; known is false when no gateway knows the object.
func valueOf(object *metav1.PartialObjectMetadata, info provider.CustomMetricInfo, counts *livesessions.Counts) (value custom_metrics.MetricValue, known bool) {
	kind := described[info.GroupResource]
	var sessions int
	if kind == "Pod" {
		sessions, known = counts.Pod(string(object.UID))
	} else {
		sessions, known = counts.Service(object.Namespace, object.Name)
	}
	return custom_metrics.MetricValue{
		DescribedObject: custom_metrics.ObjectReference{APIVersion: "v1", Kind: kind, Namespace: object.Namespace, Name: object.Name},
		Metric:          custom_metrics.MetricIdentifier{Name: info.Metric},
		Timestamp:       metav1.NewTime(counts.At),
		Value:           *resource.NewQuantity(int64(sessions), resource.DecimalSI),
	}, known
}
