// Package admin is how people and tools look at a running gateway and act on it: a small HTTP API with health, metrics and
// profiles, for the loopback interface by default, and the client of that API. It acts through affinity.Engine and decides
// nothing itself. It knows no front door and no configuration file: what it shows of them is handed to it.
//
// Users' names come in request bodies only, and are neither logged nor stored.
package admin
