//go:build !linux

package kubetest

import "testing"

// Main runs the tests of a package, of which those that need a control plane fail: only Linux has network namespaces.
func Main(m *testing.M) int { return m.Run() }

func isolated() string {
	return "a control plane for tests needs network namespaces, which only Linux has: run the tests on Linux, in a container for example"
}
