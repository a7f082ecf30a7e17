// Package shared is the session.Store of a gateway that shares its sessions with others: a session.Table of its own in front of a
// store that all of them can ask (Remote), and the rules by which they agree.
//
//   - The first sight of a user is one Claim at the store: the first gateway wins, the others follow.
//   - A session that the own table has is answered from there. Its renewals are collected, and sent by Flush.
//   - A session is moved by compare-and-set on its owner: the endpoint in its incarnation.
//   - While the store does not answer, the gateway goes on alone; what it decided then is sent when the store is back, and of two
//     claims the older wins.
//
// It has no clock, no goroutine and no I/O: time comes in as an argument, the caller calls Flush and Count, and Remote is what the
// caller made it. So that a simulator can run it, everything that waits waits in Remote or in Options.Pause.
package shared
