// Package redisstore is the store that gateways share (shared.Remote) on Redis or Valkey: one server, one that sentinels watch, or a cluster. What
// the gateways agree on there is in the contract; this package knows how it is stored and fetched. It does not know what an endpoint or a
// user is, what a gateway does when the store fails, nor when to renew or count: it answers calls, each within a bounded time.
//
// # What is stored
//
// All names begin with a prefix and the version of this layout: remora:1: unless another prefix is given.
//
//	s:{0}0 … s:{63}63   4,096 hashes: the sessions, by the first 12 bits of their key. Field: the key, 8 bytes. Value: 24 bytes (binding.go)
//	lead                which gateway counts, and until when
//	hashkey             the key that users' names are hashed with, and since when, or the fingerprint of the one that was configured
//	drained             a hash: the endpoints that operators have drained, and when a gateway last said that it has them
//	epoch               a random number that is lost with all else; in a cluster epoch:{0} … epoch:{63} and two more, one for each slot
//	news                no key, but the channel in which gateways tell each other
//
// A key with a time to live for each session would cost more than 100 bytes each; the entry of a hash costs 41 of them with 100,000 sessions
// and more, and 89 with 10,000 (make bench-store). In return entries do not expire by themselves: Count removes those that have ended, and a
// hash that nobody renews vanishes within a minute after the last of its sessions has ended. Users' names, addresses and bodies are nowhere in it;
// of endpoints there is a number, and of those that are drained the address.
//
// # How it is agreed
//
// What changes sessions is a Lua script (scripts/), of keys that a cluster has in one slot: it is carried out as a whole or not at all, and
// publishes the news of a move in the same step. Scripts are called by their hash, in one round trip, and sent again to a server that does
// not have them.
//
// All times in the store are of its own clock. A gateway measures what its clock is off, and converts; so gateways' clocks need not agree,
// but those of a cluster's servers, or of a master and its replicas, do: Redis itself replicates points in time. A script judges a call by the
// later of the time that it bears and the time at which it comes: what was held up for long cannot bring back what has ended.
//
// # What is bounded
//
// A call waits for Options.Timeout at most, and up to a sixteenth less, since calls that begin at about the same time share a timer. That holds
// whatever the connection does: the client's own waits (for a place in its ring, for another's attempt to connect) happen in a goroutine that the caller leaves behind, of which there are 1,088 at most; over it calls fail at once. While
// there is no connection calls fail at once too. To each server there is one connection with a pipeline of 1,024 commands; one that a
// server does not answer for two seconds is closed. News that come faster than they are taken are dropped over 4,096, and counted: a
// gateway that did not hear is corrected at its next renewal. When the store's clock could not be read three times in a row, or the server
// has become a replica, all connections are made anew, with files read anew.
package redisstore
