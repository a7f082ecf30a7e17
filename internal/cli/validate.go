package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
)

func newValidate(env Env) *cobra.Command {
	var files []string
	var strict bool
	cmd := &cobra.Command{
		Use:   "validate -f PATH…",
		Short: "Check a configuration without running it",
		Long: `Check a configuration without running it. All findings are printed, one a line, as

    file:line: field: what is wrong; what to do (object)

and then one line that says what the configuration has.

Exit status: 0 valid, warnings included; 1 invalid, or with --strict a warning; 2 wrong command line.`,
		Example: `  remora validate -f examples/hit-backend
  remora validate -f routes/ -f endpoints.yaml --strict
  kubectl get gateways.networking.istio.io,virtualservices,destinationrules,services,endpointslices -o yaml | remora validate -f -`,
		Args: noArgs,
	}
	addFiles(cmd, &files)
	required(cmd, "filename", "the configuration")
	draining := addDraining(cmd, "draining")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings as well")
	cmd.RunE = runs(func(*cobra.Command, []string) error {
		var options config.Options
		if err := draining(&options.DrainingLabelled); err != nil {
			return err
		}
		loaded := app.LoadWith(files, env.Stdin, options)
		printDiagnostics(env.Stdout, loaded.Diagnostics)
		errs, warnings := countFindings(loaded.Diagnostics)
		switch {
		case errs > 0:
			return fmt.Errorf("invalid: %s and %s", counted(errs, "error"), counted(warnings, "warning"))
		case strict && warnings > 0:
			return fmt.Errorf("%s, and --strict allows none", counted(warnings, "warning"))
		}
		fmt.Fprintf(env.Stdout, "valid: %s in %s: %s, %s, %s; %s\n", counted(loaded.Sources.Objects, "object"), counted(len(loaded.Sources.Files), "file"),
			counted(loaded.Routes, "route"), counted(loaded.Services, "service"), counted(loaded.Endpoints, "endpoint"), counted(warnings, "warning"))
		return nil
	})
	return cmd
}

// printDiagnostics prints findings, one a line.
func printDiagnostics(w io.Writer, l diag.List) {
	for _, d := range l {
		fmt.Fprintln(w, d)
	}
}

// errInvalid is the error of a command that cannot do its work with an invalid configuration, whose findings it has printed.
var errInvalid = errors.New("the configuration is invalid")

// countFindings counts errors and warnings.
func countFindings(l diag.List) (errs, warnings int) {
	for _, d := range l {
		if d.Severity == diag.Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}
