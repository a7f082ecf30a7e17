// Command remora is the gateway and its tools. It holds nothing but the call into package cli: the commands, their flags and
// their help are there.
package main

import (
	"os"

	"github.com/remora-proxy/remora/internal/cli"
)

// version is set by the linker (see the Makefile).
var version = "development"

func main() { os.Exit(cli.Main(version, os.Args[1:], cli.Process())) }
