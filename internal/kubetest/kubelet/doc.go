// Package kubelet is a kubelet for tests: it runs the containers of the pods that the scheduler gives to its node, each as a
// process of this machine, and tells the API server of them as a real kubelet does, so that the controllers of a real control
// plane (package kubetest) have real replicas. It knows nothing of what the processes do.
//
// What it does as the real one does: env with fieldRef; $(NAME) in command, args and env; httpGet probes for startup, readiness and
// liveness with their delays, periods, timeouts and thresholds; restartPolicy with the real one's back-off; preStop (sleep, exec
// and httpGet), terminationGracePeriodSeconds, a second delete that shortens it, SIGTERM, SIGKILL; the pod's and the containers' status;
// the node's status and Lease; the use of CPU and memory, as metrics.k8s.io, which kubectl top and the HPA read.
//
// What it does not: there is one network namespace for all, so a container has to listen on its pod's address (from fieldRef
// status.podIP) and not on all. Images are programs of this machine, which see its files. Limits, security contexts and volumes are
// not heeded. A pod that asks for something else that is missing (init containers, other probes, env from elsewhere) waits, and its status says why.
package kubelet
