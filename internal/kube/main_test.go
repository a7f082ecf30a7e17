package kube_test

import (
	"os"
	"testing"

	_ "github.com/remora-proxy/remora/internal/cli" // what is built: the go command takes no result from before it changed
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/programtest"
)

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(func() int { return kubetest.Main(m) }))
}
