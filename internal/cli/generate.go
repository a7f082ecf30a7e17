package cli

import (
	"github.com/spf13/cobra"
)

func newGenerate(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Write the configuration of a proxy that asks Remora",
		Long: `Write the configuration of a proxy that asks Remora where requests go, from the YAML that Remora itself is configured with.
It goes to standard output, with comments that say why each part is there; findings go to standard error. The same input
gives the same output.`,
		Args:                       noCommand,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGenerateEnvoy(env), newGenerateEnvoyGateway(env), newGenerateIstio(env))
	return cmd
}
