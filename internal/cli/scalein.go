package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/internal/app"
)

// addScaleIn adds the flags for what is written to pods. set checks them and takes them over.
func addScaleIn(cmd *cobra.Command) (set func(*cobra.Command, *app.Options) error) {
	f := cmd.Flags()
	on := f.Bool("scale-in", false, "with --kubernetes: write the pods' deletion costs, so that scale-in takes those with the fewest sessions, and release terminating pods that ask for it; takes more rights")
	name := f.String("scale-in-lease", "remora-scale-in", "with --scale-in: name of the Lease, in the program's own namespace, whose holder alone writes: the same for all gateways of one installation")
	return func(cmd *cobra.Command, o *app.Options) error {
		switch {
		case !*on && cmd.Flags().Changed("scale-in-lease"):
			return usagef("--scale-in-lease is about --scale-in; add that, or leave it away")
		case !*on:
			return nil
		case o.Cluster == nil:
			return usagef("--scale-in is about the pods of a cluster; add --kubernetes, or leave it away")
		}
		if wrong := validation.IsDNS1123Label(*name); len(wrong) > 0 {
			return usagef("--scale-in-lease %q is not a name of at most 63 lower case letters, digits and '-'", *name)
		}
		o.ScaleInLease = *name
		return nil
	}
}
