// Package affinity is the decision core. A front door hands Engine a request view and gets a decision: promoted fields →
// route → session → placement. It is the one place where these meet. It knows neither HTTP's bytes nor Envoy's messages, and
// has no clock, no goroutine, no I/O and no logger: time comes in as an argument.
//
// A front door does this:
//
//	plan := engine.Plan(&req)                    // is the body to be read?
//	if plan.Spec != nil { scan the body, up to plan.MaxBody bytes, into req.Body }
//	engine.Decide(&req, &dec, now)               // where to, or which error
//	for { connect to dec.Endpoint.Addr; on failure try again and, when given up, engine.Move(&dec, now) }
//	... forward, with dec.Promoted set as headers, dec.Service.SessionHeader: dec.Session, and dec.SetCookie on the response
//	dec.Sent = true                              // once any byte may have reached the endpoint
//	engine.Release(&dec, now)                    // when the response has ended: exactly once for each Decide
package affinity
