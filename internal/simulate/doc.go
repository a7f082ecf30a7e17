// Package simulate runs several gateways that share their sessions, the replicas behind them, their users, their store and the network
// between all of these in one thread and in virtual time, in schedules that a seed decides: what is late, what is lost, what dies and
// when. After every step it checks the rules that sessions have to keep, whatever fails. A schedule that breaks one is told with its
// seed, which replays it.
//
// The gateways are the production core: an affinity.Engine on a shared.Store each. The store is model.Store, the naive one that every Remote is
// compared with; front doors, the network and clocks are played. The rules are checked from outside: the simulator knows what
// users and replicas see, what the store has after each call, and which faults it made; it may know nothing of what an engine or a
// shared.Store keeps in its memory beyond what their exported methods tell.
//
//	make test-faults SCHEDULES=1000000         # with seeds by chance, on all cores; ends with what happened in them
//	make test-faults SCHEDULES=1 SEED=4711     # one schedule again
//	make test-mutations                        # breaks the code on purpose: the schedules have to find each break
//
// rules_test.go has the rules and what excuses a break of one, profile_test.go what may happen in a schedule.
package simulate
