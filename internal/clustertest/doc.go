// Package clustertest shows the use case in a cluster: the real `remora serve --kubernetes`, real replicas of the sample service in pods of
// Deployments, Istio's objects and HorizontalPodAutoscalers, on a real control plane (package kubetest) with a node of ours (its package
// kubelet). Users call every 0.2 to 2 seconds and notice by themselves when a session breaks: each replica counts the visits of its
// users in its memory, and nobody else does. It ends with a table of what held: see Table.
//
// It looks at the programs and the cluster from outside, through HTTP and the API server, and knows nothing of the code under test but
// the form of the admin API's answers.
package clustertest

// Table is the environment variable with the name of a file that the table of the scenarios is written to.
const Table = "REMORA_SCENARIOS"
