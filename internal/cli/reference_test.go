package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestTheCommandReferenceIsWhatTheProgramSays compares docs/cli.md with the help of all commands; -update writes it.
func TestTheCommandReferenceIsWhatTheProgramSays(t *testing.T) {
	var out bytes.Buffer
	out.WriteString("# Commands\n\nWhat `remora COMMAND --help` prints (`go test ./internal/cli -update` writes this page).\n")
	root := newRoot("v0.0.0", Env{})
	root.InitDefaultHelpCmd()
	describe(&out, root)
	const path = "../../docs/cli.md"
	if *update {
		must(t, os.WriteFile(path, out.Bytes(), 0o644))
		return
	}
	page, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(page, out.Bytes()) {
		t.Errorf("docs/cli.md is not what the commands say (go test ./internal/cli -update writes it):\n%s", firstDifference(page, out.Bytes()))
	}
}

// describe writes a command and those below it.
func describe(out *bytes.Buffer, cmd *cobra.Command) {
	if cmd.Name() == "help" {
		return
	}
	var help bytes.Buffer
	cmd.SetOut(&help)
	cmd.InitDefaultHelpFlag()
	_ = cmd.Help()
	fmt.Fprintf(out, "\n## %s\n\n```text\n%s\n```\n", cmd.CommandPath(), strings.TrimSpace(help.String()))
	for _, sub := range cmd.Commands() {
		describe(out, sub)
	}
}

func TestEveryCommandHasAnExampleAndEveryFlagSaysWhatItIs(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() && cmd.HasFlags() && cmd.Example == "" && cmd.HasParent() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.LocalFlags().FlagUsages()) {
			if len(strings.Fields(line)) < 4 {
				t.Errorf("%s: a flag says too little: %s", cmd.CommandPath(), line)
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newRoot("v0.0.0", Env{}))
}
