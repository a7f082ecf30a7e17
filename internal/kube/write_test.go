package kube

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// TestAPodIsReleasedAsItWasSeen has an API server that has one version of one pod, and holds to the preconditions of a delete.
func TestAPodIsReleasedAsItWasSeen(t *testing.T) {
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var o metav1.DeleteOptions
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil || r.Method != http.MethodDelete || r.URL.Path != "/api/v1/namespaces/shop/pods/cart-0" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		answer, reason := code, metav1.StatusReasonForbidden
		switch p := o.Preconditions; {
		case o.GracePeriodSeconds == nil || *o.GracePeriodSeconds != releaseGrace:
			t.Errorf("the grace period is %v", o.GracePeriodSeconds)
		case p == nil || p.UID == nil || *p.UID != "uid" || p.ResourceVersion == nil || *p.ResourceVersion != "7":
			answer, reason = http.StatusConflict, metav1.StatusReasonConflict
		}
		status := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
		if answer != http.StatusOK {
			status.Status, status.Reason, status.Code = metav1.StatusFailure, reason, int32(answer)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer)
		_ = json.NewEncoder(w).Encode(status) // whoever is gone is told nothing
	}))
	defer server.Close()
	client, err := metadata.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{client: client}
	for name, test := range map[string]struct {
		pod      Pod
		code     int
		released bool
		failed   bool
	}{
		"as it was seen":                   {Pod{UID: "uid", Version: "7"}, http.StatusOK, true, false},
		"written since":                    {Pod{UID: "uid", Version: "6"}, http.StatusOK, false, false},
		"another one of that name":         {Pod{UID: "before", Version: "7"}, http.StatusOK, false, false},
		"one that may not be deleted":      {Pod{UID: "uid", Version: "7"}, http.StatusForbidden, false, true},
		"one of which no version is known": {Pod{UID: "uid"}, http.StatusOK, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			code = test.code
			test.pod.Namespace, test.pod.Name = "shop", "cart-0"
			if released, err := c.Release(t.Context(), &test.pod); released != test.released || (err != nil) != test.failed {
				t.Errorf("released: %v, %v", released, err)
			}
		})
	}
}
