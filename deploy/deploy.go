// Package deploy carries manifests of this folder inside the program, so that `remora generate` needs no checkout. It holds the
// files as they are and knows nothing of what they mean.
package deploy

import _ "embed"

// AffinityPolicy is the CustomResourceDefinition of AffinityPolicy.
//
//go:embed crd/remora.dev_affinitypolicies.yaml
var AffinityPolicy string
