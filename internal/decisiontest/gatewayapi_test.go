package decisiontest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/session"
)

// TestGatewayAPI runs the scripts with the use case and the weights written in the Gateway API, through the engine and through the gateway: the
// decisions are the same, whichever API says it.
func TestGatewayAPI(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) decisiontest.Door{
		"engine": func(*testing.T) decisiontest.Door {
			return newEngineDoor(affinity.Options{Store: session.NewTable(session.Options{}), HashKey: [16]byte{1, 2, 3}})
		},
		"gateway": func(t *testing.T) decisiontest.Door { return newGatewayDoor(t) },
	} {
		t.Run(name, func(t *testing.T) {
			replaced := map[string]int{}
			decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return &gatewayAPIDoor{open(t), replaced} })
			for _, file := range []string{"use-case.yaml", "split-80-20.yaml", "split-0-100.yaml", "services.yaml"} {
				if replaced[file] == 0 {
					t.Errorf("no script has loaded %s", file)
				}
			}
		})
	}
}

// gatewayAPIDoor is a door to whose configurations testdata/gatewayapi has the like in the Gateway API.
type gatewayAPIDoor struct {
	decisiontest.Door
	replaced map[string]int // by file, how often
}

// Load replaces the files that there is another version of.
func (d *gatewayAPIDoor) Load(t *testing.T, files map[string]string) {
	t.Helper()
	for name := range files {
		text, err := os.ReadFile(filepath.Join("testdata", "gatewayapi", name))
		if err != nil {
			continue // it has no route
		}
		files[name] = string(text)
		d.replaced[name]++
	}
	d.Door.Load(t, files)
}
