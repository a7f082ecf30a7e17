// Package placement chooses the endpoint of a session that has none: weighted rendezvous hashing with bounded load. It is
// pure: the same candidates and the same key give the same choice on every gateway. It knows neither sessions nor health;
// the caller leaves out the endpoints that may get no new session.
//
// Sources: D. Thaler, C. Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (IEEE/ACM ToN 6(1), 1998) for
// rendezvous hashing; J. Resch, "New Hashing Algorithms for Data Storage" (SNIA SDC 2015) for the weights; V. Mirrokni,
// M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads" (SODA 2018) for the bound.
package placement

// DefaultBound is c in the load bound: no endpoint takes a new session while that would give it more than c times its
// fair share of the live sessions.
const DefaultBound = 1.25

// Candidate is an endpoint that may take a new session.
type Candidate struct {
	ID     uint64 // identity that is the same on every gateway, e.g. a hash of address and incarnation
	Weight uint32 // relative share; 0 counts as 1
	Load   int    // live sessions
}
