// Command controlplane is a Kubernetes control plane in one binary, for tests: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler, each by its own name as the first argument, with its own flags after it. It is what Kubernetes itself ships, built
// from source, so that what tests see of the API server (validation, admission, RBAC, watches, controllers) is the real thing.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
		os.Exit(2)
	}
	name, args := os.Args[1], os.Args[1:]
	var command *cobra.Command
	switch name {
	case "etcd":
		etcdmain.Main(args)
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	default:
		fmt.Fprintf(os.Stderr, "controlplane: no part is called %q\n", name)
		os.Exit(2)
	}
	command.SetArgs(args[1:])
	os.Args = args
	os.Exit(cli.Run(command))
}
