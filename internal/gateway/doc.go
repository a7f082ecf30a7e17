// Package gateway is the embedded front door: an HTTP/1.1 reverse proxy that asks affinity.Engine where each request goes and
// moves the bytes. It decides nothing about routes and sessions, and knows no configuration files.
//
// It runs a few event loops (package loop), each with connections, buffers and upstream connections of its own, so that a
// request takes no lock and, on kept connections, four system calls beside its share of a wait: read the client, write to the
// replica, read the replica, write to the client.
//
// A request's way through the files:
//
//	listener.go  a connection is accepted and given to the worker that has the fewest
//	client.go    it is read; heads are parsed (package http1)
//	exchange.go  the request is planned
//	held.go      its body is held and read for its fields, if the plan says so
//	decide.go    the engine decides, or a goroutine waits for it to
//	connect.go   a connection to the replica is found; attempts, moves to another endpoint, sending again
//	upload.go    the request is sent on
//	download.go  the response is sent back
//	answer.go    or the gateway answers itself
//	settle.go    the hold is released, the request counted and logged
//
// What every connection has below HTTP is in stream.go: bytes enter and leave there only, which is where TLS will fit in.
//
// # What a client and a replica can rely on
//
// Requests on one connection are served in their order, one at a time. Bodies of any size pass through a bounded number of
// buffers: a side that is slow slows the other one down. A request is held in memory only as far as its fields have to be read.
//
// A request is sent again after a connection failed only when the replica cannot have seen any of it, or when its method is
// idempotent and all of it is held; and once.
//
// A client that closes its sending side (FIN) while a request of its is under way is taken as gone: the replica's connection is
// closed and the session's hold ends. (It could have closed one side only, but that cannot be told, and the work for clients
// that are gone must stop. Envoy and nginx do the same.)
//
// A response that breaks off in the middle reaches the client as such: its connection is closed before the announced length, or
// without the last chunk, or is reset where the end of the connection would end the body.
package gateway
