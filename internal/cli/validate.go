package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
)

func newValidate(version string, env Env) *cobra.Command {
	var strict bool
	var options config.Options
	cmd := &cobra.Command{
		Use:   "validate {-f PATH… | --kubernetes}",
		Short: "Check a configuration without running it",
		Long: `Check a configuration without running it. All findings are printed, one a line, as

    file:line: field: what is wrong; what to do (object)

and then one line that says what the configuration has. An object of a cluster has its kind, namespace and name in place of file
and line; what is said there of an invalid one (left out, or its last valid version) is what a gateway does with it.

Exit status: 0 valid, warnings included; 1 invalid, or with --strict a warning; 2 wrong command line.`,
		Example: `  remora validate -f examples/hit-backend
  remora validate -f routes/ -f endpoints.yaml --strict
  remora validate --kubernetes --namespace shop
  remora validate --kubernetes --istio
  kubectl get gateways.networking.istio.io,virtualservices,destinationrules,services,endpointslices -o yaml | remora validate -f -`,
		Args: noArgs,
	}
	source := addSource(cmd)
	source.addTimeout(cmd)
	draining := addDraining(cmd, "draining")
	addProxied(cmd, &options.Proxied)
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings as well")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		if err := source.required(cmd); err != nil {
			return err
		}
		if err := draining(&options.DrainingLabelled); err != nil {
			return err
		}
		loaded, err := source.load(cmd.Context(), version, env, options)
		if err != nil {
			return err
		}
		if !options.Proxied && loaded.Snapshot != nil { // else Envoy has the ports
			loaded.Diagnostics = append(loaded.Diagnostics, app.Colliding(loaded.Ports)...)
		}
		printDiagnostics(env.Stdout, loaded.Diagnostics)
		found := countFindings(loaded.Diagnostics)
		switch {
		case found.errors > 0:
			return fmt.Errorf("invalid: %s, and so far %s%s", counted(found.errors, "error"), found.told(), istioHint(loaded.Diagnostics))
		case strict && found.warnings > 0:
			return fmt.Errorf("%s; --strict allows none", found.told())
		}
		where := counted(len(loaded.Sources.Files), "file")
		if source.kubernetes {
			where = "the cluster " + strings.Join(loaded.Sources.Files, "")
		}
		fmt.Fprintf(env.Stdout, "valid: %s in %s: %s, %s, %s; %s\n", counted(loaded.Sources.Objects, "object"), where,
			counted(loaded.Routes, "route"), counted(loaded.Services, "service"), counted(loaded.Endpoints, "endpoint"), found.told())
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

// istioHint says how many errors there would not be with --istio.
func istioHint(l diag.List) string {
	n := 0
	for _, d := range l {
		if d.Severity == diag.Error && strings.Contains(d.Remedy, istio.ProxiedRemedy) {
			n++
		}
	}
	switch n {
	case 0:
		return ""
	case 1:
		return "; one error is about what Istio's proxies do by themselves: where they forward the requests, add --istio"
	}
	return fmt.Sprintf("; %d errors are about what Istio's proxies do by themselves: where they forward the requests, add --istio", n)
}

// errInvalid is the error of a command that cannot do its work with an invalid configuration, whose findings it has printed.
var errInvalid = errors.New("the configuration is invalid")

// findings counts errors and warnings, and among the warnings those about requests that get 404 or 503.
type findings struct{ errors, warnings, unserved int }

func countFindings(l diag.List) (n findings) {
	for _, d := range l {
		switch {
		case d.Severity == diag.Error:
			n.errors++
		case d.Unserved:
			n.unserved++
			fallthrough
		default:
			n.warnings++
		}
	}
	return n
}

// told says how many warnings there are.
func (n findings) told() string {
	switch told := counted(n.warnings, "warning"); {
	case n.unserved == 0:
		return told
	case n.unserved == n.warnings:
		return told + ", about requests that get 404 or 503"
	default:
		return fmt.Sprintf("%s, %d of them about requests that get 404 or 503", told, n.unserved)
	}
}
