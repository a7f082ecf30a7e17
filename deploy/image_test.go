package deploy_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/remora-proxy/remora/internal/samplebackend"
)

// registry is where the tests' registry listens, in the network namespace of the tests.
const registry = "127.0.0.1:5000"

// maxLayer bounds what a node has to pull, in bytes: a layer that grows over it is to be noticed.
const maxLayer = 16 << 20

// TestTheImage builds the image as docs/kubernetes.md says, with Debian's buildah, pushes it to Debian's registry, pulls it from there, and
// runs what it holds as a node would: with nothing else in the file system, and as the image's user.
func TestTheImage(t *testing.T) {
	startRegistry(t)
	name := registry + "/tools/remora:test"
	t.Setenv("CONTAINERS_STORAGE_CONF", config(t, "storage.conf", fmt.Sprintf("[storage]\ndriver = \"vfs\"\nrunroot = %q\ngraphroot = %q\n", t.TempDir(), t.TempDir())))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", config(t, "registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry)))
	t.Setenv("BUILDAH_ISOLATION", "chroot")
	_, err := runMake("push", "BUILDER=buildah", "IMAGE="+name)
	must(t, err)

	m := pull[manifestOf](t, "manifests/test")
	image := pull[imageConfig](t, "blobs/"+m.Config.Digest)
	t.Run("says how it is run", func(t *testing.T) {
		c := image.Config
		if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/remora"}) || len(c.Cmd) != 0 {
			t.Errorf("it is run as %s with %v %v", c.User, c.Entrypoint, c.Cmd)
		}
		if image.OS != "linux" || c.Labels["org.opencontainers.image.version"] == "" {
			t.Errorf("it is for %s, with the labels %v", image.OS, c.Labels)
		}
	})
	if len(m.Layers) != 1 {
		t.Fatalf("it has %d layers, want 1", len(m.Layers))
	}
	root := t.TempDir()
	layer := pullBlob(t, "blobs/"+m.Layers[0].Digest)
	t.Logf("the layer has %d bytes", len(layer))
	if len(layer) > maxLayer {
		t.Errorf("a node has to pull %d bytes, want at most %d", len(layer), maxLayer)
	}
	t.Run("holds the program alone", func(t *testing.T) {
		if files := unpack(t, layer, root); !slices.Equal(files, []string{"remora 0755"}) {
			t.Errorf("it holds %v", files)
		}
	})
	t.Run("says its version", func(t *testing.T) {
		out, err := output(inImage(root, "version"))
		must(t, err)
		if want := image.Config.Labels["org.opencontainers.image.version"]; !strings.Contains(out, want) {
			t.Errorf("it says %q, and the image's label %q", out, want)
		}
	})
	t.Run("serves the use case", func(t *testing.T) {
		testImageServes(t, root)
	})
}

func testImageServes(t *testing.T, root string) {
	replica := &process{cmd: inImage(root, "backend", "--service", "backend-1", "--name", "in-an-image", "--listen", "127.0.1.1:8080")}
	replica.run(t)
	var objects []string
	for _, name := range []string{"services", "gateway", "virtualservice", "destinationrules", "affinitypolicy", "endpoints"} {
		objects = append(objects, read(t, "../examples/hit-backend/"+name+".yaml"))
	}
	gateway := &process{cmd: inImage(root, "serve", "-f", "-", "--port", "80=8081")}
	gateway.cmd.Stdin = strings.NewReader(strings.Join(objects, "\n---\n"))
	gateway.run(t)
	gateway.await(t, "http://127.0.0.1:9901/readyz")
	replica.await(t, "http://127.0.1.1:8080/healthz")

	resp, err := http.Post("http://127.0.0.1:8081/hit_backend", "application/json", strings.NewReader(`{"username":"user","target":"backend-1"}`))
	must(t, err)
	defer resp.Body.Close()
	var reply samplebackend.Reply
	must(t, json.NewDecoder(resp.Body).Decode(&reply))
	if reply.ServiceName != "backend-1" || reply.Session != "new" {
		t.Errorf("the reply is of %q, to which the session is %q", reply.ServiceName, reply.Session)
	}
}

// inImage is a command of the image: its root directory is the image's, and its user is the image's where the tests may become it.
func inImage(root string, args ...string) *exec.Cmd {
	cmd := exec.Command("/remora", args...)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if mayBecome(65532) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65532, Gid: 65532}
	}
	return cmd
}

// mayBecome says whether a user is there: a developer without root has the tests in a user namespace of one user.
func mayBecome(user uint64) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, count uint64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err == nil && user >= first && user-first < count {
			return true
		}
	}
	return false
}

// manifestOf is the manifest of an image, as the OCI Image Format Specification has it.
type manifestOf struct {
	Config struct{ Digest string }
	Layers []struct{ Digest string }
}

// imageConfig is the configuration of an image, as the same has it.
type imageConfig struct {
	OS     string
	Config struct {
		User            string
		Entrypoint, Cmd []string
		Labels          map[string]string
	}
}

// pull reads something of the image from the registry.
func pull[T any](t *testing.T, path string) T {
	t.Helper()
	var v T
	must(t, json.Unmarshal(pullBlob(t, path), &v))
	return v
}

func pullBlob(t *testing.T, path string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+registry+"/v2/tools/remora/"+path, http.NoBody)
	must(t, err)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", path, resp.Status, body)
	}
	if _, digest, is := strings.Cut(path, "sha256:"); is && fmt.Sprintf("%x", sha256.Sum256(body)) != digest {
		t.Fatalf("%s is not what its digest says", path)
	}
	return body
}

// unpack unpacks a layer, and gives its files with their modes.
func unpack(t *testing.T, layer []byte, into string) []string {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(layer))
	must(t, err)
	must(t, os.Chmod(into, 0o755))
	var files []string
	for archive := tar.NewReader(unzipped); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		must(t, err)
		if head.Typeflag == tar.TypeDir {
			continue
		}
		files = append(files, fmt.Sprintf("%s %04o", head.Name, head.Mode&0o777))
		data, err := io.ReadAll(archive)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(into, filepath.Base(head.Name)), data, 0o755))
	}
}

// startRegistry runs a registry until the test has ended.
func startRegistry(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatalf("%v; install it with: make test-image", err)
	}
	conf := config(t, "registry.yml", fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", t.TempDir(), registry))
	p := &process{cmd: exec.Command(path, "serve", conf)}
	p.run(t)
	p.await(t, "http://"+registry+"/v2/")
}

// config writes a configuration file and gives its path.
func config(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
