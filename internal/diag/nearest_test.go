package diag

import "testing"

func TestNearestFindsWhatWasMeant(t *testing.T) {
	names := []string{"headers", "withoutHeaders", "httpHeaderName", "uri", "port", "ports", "exact", "prefix"}
	for got, want := range map[string]string{
		"header":           "headers",
		"Headers":          "headers",
		"http_header_name": "httpHeaderName",
		"httpHeadername":   "httpHeaderName",
		"without-headers":  "withoutHeaders",
		"prot":             "port",
		"portz":            "port",
		"prefxi":           "prefix",
		"url":              "uri",
		"name":             "",
		"x":                "",
		"":                 "",
		"regex":            "",
	} {
		if near := Nearest(got, names); near != want {
			t.Errorf("Nearest(%q) = %q, want %q", got, near, want)
		}
	}
}

func TestTheNearestObjectIsOfTheSameNamespaceOrHasTheSameName(t *testing.T) {
	names := []string{"default/front", "shop/edge", "shop/inner"}
	for got, want := range map[string]string{
		"default/frnot":   "default/front",
		"default/edge":    "shop/edge",
		"default/gateway": "",
		"default/inn":     "",
		"":                "",
	} {
		if near := NearestObject(got, names); near != want {
			t.Errorf("NearestObject(%q) = %q, want %q", got, near, want)
		}
	}
}
