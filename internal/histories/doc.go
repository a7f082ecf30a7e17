// Package histories runs gateways that share their sessions, lets them fail, and checks what their users saw: that a session is a register
// that the first claim writes, alike at all gateways. It has tests only.
//
// # What is run
//
// Three processes of `remora serve --store`, a redis-server, replicas of the sample service, and some hundred users who call through gateways that
// they choose anew for each call, now and then through several at once. Each gateway reaches Redis through a proxy of its own, which can cut it off,
// hold it up, or slow it down. Processes are killed (SIGKILL), stand still for a while (SIGSTOP, SIGCONT), and are started again. In one scenario the
// gateways ask a sentinel where Redis is; that is killed when its replica has missed what happened for a while, and the replica takes its place.
//
// # What is checked
//
// Each call is an operation with a beginning and an end: who called, through which gateway, the replica that answered (its process, so a replica that
// is started again is another one), what it was told of the session (x-remora-session), and how many of the user's calls it remembers. A call that
// failed may have had any effect, or none. Porcupine looks, for each user, for an order of the calls that is in keeping with the times and
// with two models:
//
//   - The session (register.go's rules, in register_test.go): the first call is told "new", and every later one within the idle time goes to the same
//     replica and is told "existing", through whichever gateway. A replica that was killed gives its users up to one other replica, which is told
//     "moved" once. After the idle time the session begins anew.
//   - The replicas' memory: each call that a replica answers is counted there once. A call that was delivered twice, or to a replica of the same name
//     that is another one, would show.
//
// # What may differ, and when
//
// A gateway that does not reach the store goes on alone. Such an outage begins with the fault and ends when the gateway says that the store answers and
// has been told all, and settleTime has passed; within it this is excused, and nothing else:
//
//   - A call through that gateway by a user who had no live session there (who is first seen there, or was idle for long), or whose replica died:
//     the gateway may choose any replica. From then on it stays with its choice, as long as the outage lasts.
//   - A session that is used through that gateway alone for longer than the idle time ends at the others: they may begin it anew.
//   - A user about whom gateways so decided may, while the gateways tell the store, be moved between the replicas that were chosen, and from one of
//     these that has died to another one, though the user had been moved from there before.
//   - When a replica of Redis that has missed a move takes its place, the user may be where the move led, or where it came from, or, where that replica has
//     died, be moved from there a second time.
//
// Users that a gateway knew go on at it as before, outage or not; gateways that reach the store agree as if nothing had happened. When the outage is over
// all agree on one of the replicas that were chosen; on that of the session from before the outage, if it lived on. From there on the first rule holds
// again. A gateway that stands still is one that does not reach the store: what it had in hand may have run out of time.
//
// # What is no excuse
//
// What a gateway says. Outages are those that the scenario makes, of the gateways that it does something to: in the calm there is none. Each gateway's metrics
// and log are read all the time (watch_test.go), for what they may not say (excuses_test.go):
//
//   - that it is alone, or that a call of the store failed, outside of its outages. One of these ends when the gateway, after the fault, says that it
//     shares its sessions, and then has no call fail for storeTimeout; the run fails if it does not come to that within agreeLimit.
//   - at the end of the run, that it does not share its sessions, or nothing.
//   - errors other than those of a store that does not answer, or whose connections break, in an outage too: such as those of a script.
//
// A call of a user may only fail when its gateway is killed, or a replica: the store has no part in it.
//
// Gateways wait for the store as long as they can be told to. Should the machine itself stall, so that this is not enough, the scenario is played
// again, and the log says so: a process that has nothing to do with what is tested has to have stalled too, each time shortly before a gateway was alone;
// nothing may be wrong that a stall does not explain; and the last of maxTries counts whatever it did.
//
// # What is not checked
//
// That a session ends to the millisecond: calls between idleTime-earlySlack and idleTime+grace+lateSlack after the last one may find it or not; other
// tests have a clock of their own. How many sessions go where. Clusters: the store's own tests have those.
package histories
