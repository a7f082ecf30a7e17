package kubetest

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestAControlPlane(t *testing.T) {
	c := Start(t, Options{Controllers: true, Scheduler: true})

	t.Run("is the Kubernetes that was asked for", func(t *testing.T) {
		var version struct{ GitVersion string }
		c.Get(t, "/version", &version)
		if version.GitVersion != "v"+Version {
			t.Errorf("it calls itself %s", version.GitVersion)
		}
	})

	t.Run("stores objects and says what is wrong with them", func(t *testing.T) {
		c.Apply(t, service)
		var s struct{ Spec struct{ ClusterIP string } }
		c.Get(t, "/api/v1/namespaces/default/services/cart", &s)
		if !strings.HasPrefix(s.Spec.ClusterIP, "10.96.") {
			t.Errorf("the Service's address is %q", s.Spec.ClusterIP)
		}
		err := c.TryApply(strings.ReplaceAll(service, "8080", "80800"))
		if err == nil || !strings.Contains(err.Error(), "spec.ports[0].port") {
			t.Errorf("a port of 80800 gives %v", err)
		}
	})

	t.Run("keeps what it has when the API server is killed and comes back", func(t *testing.T) {
		c.StopServer()
		if err := c.TryApply(service); err == nil {
			t.Error("a killed API server answers")
		}
		c.StartServer(t)
		c.Delete(t, service)
	})
}

const service = `
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{port: 8080}]}
`
