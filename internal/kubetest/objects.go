package kubetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is what every object says of itself.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name, Namespace string }
}

// Apply applies objects in YAML, as `kubectl apply --server-side` does. Those without a namespace come into "default".
func (c *Cluster) Apply(t testing.TB, text string) {
	t.Helper()
	if err := c.TryApply(text); err != nil {
		t.Fatal(err)
	}
}

// applied is how objects are applied: whole, and with fields that exist.
const applied = "?force=true&fieldValidation=Strict&fieldManager=kubetest"

// TryApply is Apply with the error of the API server in words of its own.
func (c *Cluster) TryApply(text string) error {
	return c.each(text, func(path string, doc []byte) error {
		return c.send(http.MethodPatch, path+applied, "application/apply-patch+yaml", doc)
	})
}

// ApplyClean is Apply for objects that users are given: a warning of the API server fails the test as well.
func (c *Cluster) ApplyClean(t testing.TB, text string) {
	t.Helper()
	err := c.each(text, func(path string, doc []byte) error {
		head, _, err := c.exchange(http.MethodPatch, path+applied, "application/apply-patch+yaml", doc)
		if err == nil && len(head.Values("Warning")) > 0 {
			err = fmt.Errorf("the API server warns: %s", strings.Join(head.Values("Warning"), "; "))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ApplyStatus applies the status of objects, as a controller does.
func (c *Cluster) ApplyStatus(t testing.TB, text string) {
	t.Helper()
	err := c.each(text, func(path string, doc []byte) error {
		return c.send(http.MethodPatch, path+"/status?force=true&fieldManager=kubetest", "application/apply-patch+yaml", doc)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Delete deletes objects, of which the YAML needs no more than kind and name.
func (c *Cluster) Delete(t testing.TB, text string) {
	t.Helper()
	err := c.each(text, func(path string, _ []byte) error {
		return c.send(http.MethodDelete, path, "", nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// DeleteWithin deletes a pod, which then has some seconds to end; with 0 the API server has it no longer at once.
func (c *Cluster) DeleteWithin(t testing.TB, namespace, pod string, seconds int) {
	t.Helper()
	err := c.send(http.MethodDelete, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s?gracePeriodSeconds=%d", namespace, pod, seconds), "", nil)
	if err != nil {
		t.Fatal(err)
	}
}

// Patch changes an object at an API path by a JSON merge patch.
func (c *Cluster) Patch(t testing.TB, path, patch string) {
	t.Helper()
	if err := c.send(http.MethodPatch, path, "application/merge-patch+json", []byte(patch)); err != nil {
		t.Fatal(err)
	}
}

// Get reads what an API path has, an object or a list.
func (c *Cluster) Get(t testing.TB, path string, into any) {
	t.Helper()
	if err := c.TryGet(path, into); err != nil {
		t.Fatal(err)
	}
}

// TryGet is Get with the error of the API server in words of its own.
func (c *Cluster) TryGet(path string, into any) error {
	data, err := c.do(http.MethodGet, path, "", nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// AddIstio adds Istio's CustomResourceDefinitions, at the version of the istio.io/api module that the tests are built with.
func (c *Cluster) AddIstio(t testing.TB) {
	t.Helper()
	c.AddDefinitions(t, filepath.Join(moduleDir(t, "istio.io/api"), "kubernetes", "customresourcedefinitions.gen.yaml"))
}

// AddGatewayAPI adds those of the Gateway API's kinds that Remora reads, at the version of the module that it is built with.
func (c *Cluster) AddGatewayAPI(t testing.TB) {
	t.Helper()
	dir := filepath.Join(moduleDir(t, "sigs.k8s.io/gateway-api"), "config", "crd", "standard")
	for _, resource := range []string{"gateways", "httproutes", "referencegrants"} {
		c.AddDefinitions(t, filepath.Join(dir, "gateway.networking.k8s.io_"+resource+".yaml"))
	}
}

// moduleDir is the folder of a module that the tests are built with.
func moduleDir(t testing.TB, module string) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = Root(t)
	dir, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(dir))
}

// AddDefinitions applies a file with CustomResourceDefinitions, and waits until the API server serves their kinds.
func (c *Cluster) AddDefinitions(t testing.TB, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, string(text))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	err = c.each(string(text), func(path string, _ []byte) error {
		for !c.established(t, path) {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return fmt.Errorf("%s is not served", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) established(t testing.TB, path string) bool {
	t.Helper()
	var definition struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	c.Get(t, path, &definition)
	for _, condition := range definition.Status.Conditions {
		if condition.Type == "Established" && condition.Status == "True" {
			return true
		}
	}
	return false
}

// each calls do with the API path and the text of each object.
func (c *Cluster) each(text string, do func(path string, doc []byte) error) error {
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return err
		}
		if o.Kind == "" {
			continue // comments
		}
		path, err := c.path(o)
		if err == nil {
			err = do(path, []byte(doc))
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.Kind, o.Metadata.Name, err)
		}
	}
	return nil
}

// path is where the API server has an object.
func (c *Cluster) path(o object) (string, error) {
	root := "/apis/" + o.APIVersion
	if !strings.Contains(o.APIVersion, "/") {
		root = "/api/" + o.APIVersion
	}
	data, err := c.do(http.MethodGet, root, "", nil)
	if err != nil {
		return "", err
	}
	var list struct {
		Resources []struct {
			Name, Kind string
			Namespaced bool
		}
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return "", err
	}
	for _, r := range list.Resources {
		switch {
		case r.Kind != o.Kind || strings.Contains(r.Name, "/"):
		case !r.Namespaced:
			return root + "/" + r.Name + "/" + o.Metadata.Name, nil
		case o.Metadata.Namespace == "":
			return root + "/namespaces/default/" + r.Name + "/" + o.Metadata.Name, nil
		default:
			return root + "/namespaces/" + o.Metadata.Namespace + "/" + r.Name + "/" + o.Metadata.Name, nil
		}
	}
	return "", fmt.Errorf("%s has no kind %s", o.APIVersion, o.Kind)
}

func (c *Cluster) send(method, path, contentType string, body []byte) error {
	_, err := c.do(method, path, contentType, body)
	return err
}

// do makes one request as the administrator. An error is what the API server says.
func (c *Cluster) do(method, path, contentType string, body []byte) ([]byte, error) {
	_, data, err := c.exchange(method, path, contentType, body)
	return data, err
}

// exchange is do with the head of the response.
func (c *Cluster) exchange(method, path, contentType string, body []byte) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode < 300 {
		return resp.Header, data, err
	}
	var status struct{ Message string }
	if json.Unmarshal(data, &status) == nil && status.Message != "" {
		return nil, nil, errors.New(status.Message)
	}
	return nil, nil, fmt.Errorf("%s: %s", resp.Status, data)
}
