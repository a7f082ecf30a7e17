package kubetest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// Options say which parts run besides etcd and the API server.
type Options struct {
	Controllers bool // kube-controller-manager: EndpointSlices of Services, Deployments, the HPA, service accounts
	Scheduler   bool // kube-scheduler
}

// Cluster is a running control plane.
type Cluster struct {
	Server     string // https://10.0.0.1:port
	Kubeconfig string // the path of an administrator's kubeconfig

	binary    string
	dir       string // certificates, keys, etcd's data
	etcd      string // http://127.0.0.1:port
	port      string // of the API server
	apiserver *part
	client    *http.Client
}

// token is the administrator's.
const token = "kubetest-admin"

// Start runs a control plane until the test has ended, and returns when it is ready.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if why := isolated(); why != "" {
		t.Fatal(why)
	}
	c := &Cluster{binary: binary(t), dir: t.TempDir(), port: NewPort(), client: newClient(t)}
	c.Server = "https://10.0.0.1:" + c.port
	c.writeKeys(t)
	c.writeFrontProxy(t)
	c.startEtcd(t)
	c.StartServer(t)
	c.Kubeconfig = c.As(t, "")
	if o.Controllers {
		c.run(t, "kube-controller-manager", "--service-account-private-key-file="+c.file("sa.key"),
			"--horizontal-pod-autoscaler-sync-period=2s", "--horizontal-pod-autoscaler-cpu-initialization-period=2s",
			"--horizontal-pod-autoscaler-initial-readiness-delay=1s",
			"--node-monitor-grace-period=10m") // a node whose kubelet is starved, or without an API server, is there nevertheless
	}
	if o.Scheduler {
		c.run(t, "kube-scheduler")
	}
	return c
}

func (c *Cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) startEtcd(t testing.TB) {
	t.Helper()
	client, peer := "http://127.0.0.1:"+NewPort(), "http://127.0.0.1:"+NewPort()
	c.etcd = client
	p := startPart(t, c.binary, "etcd", "--data-dir", c.file("etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)
	p.await(t, c.client, client+"/readyz")
}

// StartServer starts the API server again after StopServer, on the same address, and returns when it is ready.
func (c *Cluster) StartServer(t testing.TB) {
	t.Helper()
	c.apiserver = startPart(t, c.binary, append([]string{
		"kube-apiserver", "--etcd-servers=" + c.etcd,
		"--bind-address=10.0.0.1", "--advertise-address=10.0.0.1", "--secure-port=" + c.port, "--cert-dir=" + c.file("certs"),
		"--token-auth-file=" + c.file("tokens.csv"), "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + c.file("sa.pub"),
		"--service-account-signing-key-file=" + c.file("sa.key"),
	}, c.frontProxyFlags()...)...)
	c.apiserver.await(t, c.client, c.Server+"/readyz")
}

// StopServer kills the API server. What it has stored is still there when it starts again.
func (c *Cluster) StopServer() { c.apiserver.Kill() }

func (c *Cluster) run(t testing.TB, name string, args ...string) {
	t.Helper()
	port := NewPort()
	p := startPart(t, c.binary, append([]string{
		name, "--kubeconfig=" + c.Kubeconfig, "--leader-elect=false",
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + c.file(name),
	}, args...)...)
	p.await(t, c.client, "https://127.0.0.1:"+port+"/healthz")
}

// As writes a kubeconfig with which its bearer acts as a user or service account ("system:serviceaccount:namespace:name"),
// with the rights of that alone, and gives its path. A service account's is in its namespace, as its pods are. Empty: an administrator.
func (c *Cluster) As(t testing.TB, user string) string {
	t.Helper()
	name, as, in := "admin", "", "default"
	if user != "" {
		name = strings.ReplaceAll(user, ":", "-")
		groups := []string{"system:authenticated"}
		if account, is := strings.CutPrefix(user, "system:serviceaccount:"); is {
			in, _, _ = strings.Cut(account, ":")
			groups = append(groups, "system:serviceaccounts", "system:serviceaccounts:"+in)
		}
		as = fmt.Sprintf(", as: %q, as-groups: [%s]", user, `"`+strings.Join(groups, `", "`)+`"`)
	}
	path := c.file(name + ".kubeconfig")
	write(t, path, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- {name: kubetest, cluster: {server: %q, certificate-authority: %q}}
users:
- {name: %q, user: {token: %s%s}}
contexts:
- {name: %q, context: {cluster: kubetest, user: %q, namespace: %q}}
current-context: %q
`, c.Server, c.file("certs/apiserver.crt"), name, token, as, name, name, in, name))
	return path
}

// writeKeys writes what the API server authenticates with: the administrator's token, and the keys of service accounts.
func (c *Cluster) writeKeys(t testing.TB) {
	t.Helper()
	write(t, c.file("tokens.csv"), token+`,admin,admin,"system:masters"`+"\n")
	key := newKey(t)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.file("sa.key"), privateKey(t, key))
	write(t, c.file("sa.pub"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// firstPort is below the ports that the kernel takes for clients (32768 and higher): none of them can be in the way of a part that starts
// later, or again.
const firstPort = 20_000

var portsTaken atomic.Uint32

// NewPort is a port that nobody else has: nobody else is in the network namespace, and each is given once.
func NewPort() string { return strconv.Itoa(firstPort + int(portsTaken.Add(1))) }
