//go:build linux

// Package asenvoy asks external processors as Envoy does, so that their cost can be measured by itself and beyond what one Envoy
// can carry: a stream for each request over a few HTTP/2 connections, a message with the request's headers, one with its body after the
// answer, the stream's end with END_STREAM and RST_STREAM when the response would be over, and one write for all that one round of the event
// loop has to say. It checks that the answers are decisions. It knows nothing of who answers, and starts nothing.
package asenvoy
