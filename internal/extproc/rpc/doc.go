// Package rpc is a gRPC server for very many short streams, each of a few small messages whose answers seldom wait for anything: what an
// external processor gets from Envoy, which opens a stream for each request. It knows gRPC over HTTP/2 and nothing of what the messages
// say.
//
// One goroutine for each connection reads frames (golang.org/x/net/http2 and its hpack), hands whole messages to the stream's Handler and
// takes its answers, and writes all of them at once when nothing more has been received. For a stream hardly anything is allocated but
// what its Handler allocates. grpc-go, which has two goroutines for a connection and one for each stream, and passes each message through
// several queues, costs some five times as much (bench/README.md).
//
//	server.go    listeners, connections, the graceful end
//	conn.go      one connection: frames in, settings, windows, pings
//	headers.go   what opens a stream, and what refuses it
//	stream.go    one stream: messages in
//	send.go      messages, statuses and windows out
//	alive.go     the handshake's deadline, pings to a silent peer
//	service.go   other gRPC services at the same address, such as health: a goroutine for each of their streams, as grpc-go has it
//
// A Handler that has to wait for its answer gets a goroutine for that, and holds up its own stream alone.
//
// # Bounds
//
// Everything that a peer can make grow has an end: streams and services' goroutines of a connection, the size of a message, the bytes
// that all unfinished messages and unsent answers hold, the size and number of frames of a header block, frames that bring nothing
// (pings, settings, resets of unknown streams, empty data). What is to be sent is written before more is read, so a peer that does not read is
// not read from either, and loses its connection when that lasts. A stream that is opened and reset at once leaves nothing behind.
//
// Left out of gRPC: compressed messages (refused with UNIMPLEMENTED) and grpc-timeout (a stream ends when its client ends it).
package rpc
