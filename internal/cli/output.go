package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputFlag is -o of the commands whose result can be had as text, for people, or JSON, for programs.
type outputFlag string

// Set, String and Type make it a flag value that refuses what it does not know at once.
func (o *outputFlag) Set(s string) error {
	if !slices.Contains([]string{"text", "json"}, s) {
		return fmt.Errorf("it is text or json")
	}
	*o = outputFlag(s)
	return nil
}

func (o *outputFlag) String() string { return string(*o) }

// Type names the value in the help.
func (o *outputFlag) Type() string { return "text|json" }

// addOutput adds -o to a command.
func addOutput(cmd *cobra.Command) *outputFlag {
	o := outputFlag("text")
	cmd.Flags().VarP(&o, "output", "o", "output format")
	return &o
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under a heading, in columns.
func table(w io.Writer, heading string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// counted is "1 route", "2 routes".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
