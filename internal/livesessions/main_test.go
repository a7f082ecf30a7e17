package livesessions

import (
	"os"
	"testing"

	"github.com/remora-proxy/remora/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }
