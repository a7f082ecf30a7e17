// Package livesessions counts the live sessions of pods and Services over all gateways of a cluster, each of which knows its own
// alone. A count that is not known for certain is an error and never a smaller number: whoever scales by it would take pods away
// from their users.
//
// It is what the program cmd/remora-metrics-adapter serves, which is a module of its own. It knows neither that API nor how a gateway
// is asked.
package livesessions
