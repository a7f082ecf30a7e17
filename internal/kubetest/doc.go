// Package kubetest runs a real Kubernetes control plane for tests: the binary that `make controlplane` builds, with etcd and
// kube-apiserver, and kube-controller-manager and kube-scheduler where a test asks for them. Pods run where a test starts a node
// for them (package kubelet); else what a test needs of pods it writes itself.
//
// The API server refuses EndpointSlices with loopback addresses, so the tests of a package run in a network namespace of
// their own, in which every address of 10.0.0.0/8 is the machine's own and nothing leads outside: see Main. The package
// knows nothing of what tests put into the cluster. A test that needs it fails where the binary is missing.
package kubetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Version is the Kubernetes that is tested with. test/kubernetes/go.mod has the same.
const Version = "1.37.2"

// binary is the path of the control plane.
func binary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(Root(t), ".cache", "controlplane-"+Version)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the control plane is not there (%v); build it with: make controlplane", err)
	}
	return path
}

// Root is the root of the module that the test belongs to.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
	}
}
