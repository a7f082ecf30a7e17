package deploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/remora-proxy/remora/internal/kube"
)

const manifestHead = `# The gateway in a cluster: what the chart in chart/remora makes with the values that it comes with, for those who have no Helm.
# "go test ./deploy -update" writes it. Apply it with: kubectl apply --server-side -f deploy/remora.yaml
apiVersion: v1
kind: Namespace
metadata:
  name: remora-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
# The kind AffinityPolicy.
`

// wholeManifest is what remora.yaml has.
func wholeManifest(t *testing.T) string {
	t.Helper()
	definition := strings.TrimPrefix(strings.TrimSpace(read(t, "crd/remora.dev_affinitypolicies.yaml")), "---\n")
	return manifestHead + definition + "\n---\n" + render(t, release)
}

func TestTheManifestIsWhatTheChartMakes(t *testing.T) {
	compare(t, manifest, wholeManifest(t))
}

// TestTheChartMakes compares what the chart makes of the values in testdata/chart with what each archive says.
func TestTheChartMakes(t *testing.T) {
	paths, err := filepath.Glob("testdata/chart/*.txtar")
	must(t, err)
	if len(paths) == 0 {
		t.Fatal("testdata/chart has no archives")
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			must(t, err)
			values := valuesFile(t, archive)
			helm(t, "lint", "--strict", chart, "--values", values)
			_, notes, _ := strings.Cut(helm(t, "install", name, chart, "--namespace", system, "--dry-run=client", "--values", values), "\nNOTES:\n")
			archive.Files = []txtar.File{
				archive.Files[0],
				{Name: "want.yaml", Data: []byte(render(t, name, "--values", values))},
				{Name: "notes.txt", Data: []byte(strings.TrimSpace(notes) + "\n")},
			}
			compare(t, path, string(txtar.Format(archive)))
		})
	}
}

// valuesFile writes the values of an archive to a file for helm.
func valuesFile(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	if len(archive.Files) == 0 || archive.Files[0].Name != "values.yaml" {
		t.Fatal("the archive does not begin with values.yaml")
	}
	path := filepath.Join(t.TempDir(), "values.yaml")
	must(t, os.WriteFile(path, archive.Files[0].Data, 0o600))
	return path
}

// compare compares what a file has with what it should have, or with -update writes it.
func compare(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(path, []byte(want), 0o644))
		return
	}
	got := read(t, path)
	if got == want {
		return
	}
	has, wants := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(has), len(wants)) {
		if has[i] != wants[i] {
			t.Fatalf("%s:%d has\n%s\nwant\n%s\n(go test ./deploy -update writes it)", path, i+1, has[i], wants[i])
		}
	}
	t.Fatalf("%s has %d lines, want %d (go test ./deploy -update writes it)", path, len(has), len(wants))
}

func TestTheChartHasTheDefinitionOfAffinityPolicy(t *testing.T) {
	if crds := helm(t, "show", "crds", chart); !strings.Contains(crds, strings.TrimSpace(read(t, "crd/remora.dev_affinitypolicies.yaml"))) {
		t.Error("helm installs another definition than the one in crd")
	}
}

func TestHelmFindsNothingWrong(t *testing.T) {
	helm(t, "lint", "--strict", chart)
}

// TestTheRightsOfTheChart compares the roles with what the program says that it takes.
func TestTheRightsOfTheChart(t *testing.T) {
	want := kube.Rules(kube.Watching, kube.WritingStatus, kube.ScalingIn)
	equal := func(a, b rbacv1.PolicyRule) bool {
		return slices.Equal(a.APIGroups, b.APIGroups) && slices.Equal(a.Resources, b.Resources) && slices.Equal(a.Verbs, b.Verbs)
	}
	if role := only[rbacv1.ClusterRole](t, read(t, manifest), "ClusterRole"); !slices.EqualFunc(role.Rules, want, equal) {
		t.Errorf("the ClusterRole has\n%v\nwant\n%v", role.Rules, want)
	}
	lease := only[rbacv1.Role](t, read(t, manifest), "Role")
	if !slices.EqualFunc(lease.Rules, kube.Rules(kube.HoldingLease), equal) {
		t.Errorf("the Role has\n%v\nwant\n%v", lease.Rules, kube.Rules(kube.HoldingLease))
	}
	reader := render(t, release, "--set", "scaleIn=false")
	if role := only[rbacv1.ClusterRole](t, reader, "ClusterRole"); !slices.EqualFunc(role.Rules, kube.Rules(kube.Watching, kube.WritingStatus), equal) {
		t.Errorf("without scaleIn, the ClusterRole has\n%v\nwant\n%v", role.Rules, kube.Rules(kube.Watching, kube.WritingStatus))
	}
	if strings.Contains(reader, "--scale-in") || len(decode[rbacv1.Role](t, reader, "Role")) != 0 {
		t.Error("without scaleIn, there is a Role or the flag")
	}
	named := render(t, release, "--set", "namespaces={shop,games}")
	if n := len(decode[rbacv1.ClusterRole](t, named, "ClusterRole")); n != 0 {
		t.Errorf("with namespaces there are %d ClusterRoles", n)
	}
	roles := decode[rbacv1.Role](t, named, "Role")
	if len(roles) != 3 || roles[0].Namespace != "shop" || roles[1].Namespace != "games" || roles[2].Name != lease.Name {
		t.Fatalf("there are the Roles %v, want one in each of shop and games, and that for the Lease", roles)
	}
	for _, role := range roles[:2] {
		if !slices.EqualFunc(role.Rules, want, equal) {
			t.Errorf("the Role in %s has\n%v\nwant\n%v", role.Namespace, role.Rules, want)
		}
	}
}

func TestTheChartRefuses(t *testing.T) {
	for name, test := range map[string]struct{ set, says string }{
		"a name that there is not":                {"service.typo=NodePort", "additional properties 'typo' not allowed"},
		"a name that there is not, at the top":    {"replica=2", "additional properties 'replica' not allowed"},
		"a kind of Service that there is not":     {"service.type=Nodeport", "at '/service/type': value must be one of 'NodePort', 'LoadBalancer', 'ClusterIP'"},
		"a port that is none":                     {"service.ports[0].port=70000", "at '/service/ports/0/port': maximum: got 70,000, want 65,535"},
		"the port of the metrics":                 {"service.ports[0].name=http,service.ports[0].port=9090", "service.ports[0]: the pod would listen on 9090, which its metrics (9090) and its admin API (9901) have; give the port a listenPort"},
		"a port that would listen on the admin's": {"service.ports[0].name=http,service.ports[0].port=9901", "service.ports[0]: the pod would listen on 9901, which"},
		"a listenPort that is the admin's":        {"service.ports[0].name=http,service.ports[0].port=80,service.ports[0].listenPort=9901", "service.ports[0]: the pod would listen on 9901, which"},
		"a listenPort that takes privileges":      {"service.ports[0].name=http,service.ports[0].port=80,service.ports[0].listenPort=80", "at '/service/ports/0/listenPort': minimum: got 80, want 1,024"},
		"two ports that would listen on one":      {"service.ports[0].name=http,service.ports[0].port=80,service.ports[1].name=more,service.ports[1].port=8080", "service.ports[1]: the pod would listen on 8080 for port 8080, and does for port 80; give one of them a listenPort"},
		"a port twice":                            {"service.ports[0].name=http,service.ports[0].port=80,service.ports[1].name=more,service.ports[1].port=80", "service.ports[1]: port 80 is there twice"},
		"a name twice":                            {"service.ports[0].name=http,service.ports[0].port=80,service.ports[1].name=http,service.ports[1].port=90", "service.ports[1]: the name http is there twice"},
		"the name of the metrics' port":           {"service.ports[0].name=http-metrics,service.ports[0].port=80", "service.ports[0]: the name http-metrics is that of the pod's port for metrics; give another"},
		"a port without a name":                   {"service.ports[1].port=90", "at '/service/ports/1': missing property 'name'"},
		"a Service without ports":                 {"service.ports=null", "service.ports"},
		"a store that is none":                    {"store.url=redis.remora-system:6379", "at '/store/url'"},
		"a password where everybody can read it":  {"store.url=redis://:secret@redis:6379", "at '/store/url': 'not' failed"},
		"a prefix with a space":                   {"store.prefix=my shop", "at '/store/prefix'"},
		"replicas in words":                       {"replicas=two", "at '/replicas': got string, want integer"},
		"a namespace that can be none":            {"namespaces={Shop}", "at '/namespaces/0'"},
		"a namespace twice":                       {"namespaces={shop,shop}", "items at 0 and 1 are equal"},
		"a duration without a unit":               {"sessions.saveInterval=30", "at '/sessions/saveInterval'"},
		"a storage that there is not":             {"sessions.storage=disk", "at '/sessions/storage': value must be one of 'emptyDir', 'persistentVolume'"},
		"a digest that is none":                   {"image.digest=abc", "at '/image/digest'"},
		"an argument that is no flag":             {"extraArgs={serve}", "at '/extraArgs/0'"},
		"a resource that there is not":            {"resources.limit.memory=1Gi", "additional properties 'limit' not allowed"},
		"memory with a unit that there is not":    {"resources.limits.memory=1GB", "at '/resources/limits/memory'"},
		"sessions without number":                 {"sessions.max=0", "at '/sessions/max': minimum: got 0, want 1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, complaint := tryHelm(t, "template", release, chart, "--set", test.set); !strings.Contains(complaint, test.says) {
				t.Errorf("helm says\n%s\nwant\n%s", complaint, test.says)
			}
		})
	}
}
