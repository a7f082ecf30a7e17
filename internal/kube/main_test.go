package kube_test

import (
	"os"
	"testing"

	"github.com/remora-proxy/remora/internal/kubetest"
)

func TestMain(m *testing.M) {
	status := kubetest.Main(m)
	if programDir != "" {
		_ = os.RemoveAll(programDir) // what is left of it hurts nobody
	}
	os.Exit(status)
}
