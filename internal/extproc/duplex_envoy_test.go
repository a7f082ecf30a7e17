package extproc_test

import (
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
)

// fullDuplex is what the example has to have changed for FULL_DUPLEX_STREAMED in both directions.
var fullDuplex = []string{
	"request_body_mode: BUFFERED", "request_body_mode: FULL_DUPLEX_STREAMED",
	"request_trailer_mode: SKIP", "request_trailer_mode: SEND",
	"response_header_mode: SKIP", "response_header_mode: SEND",
	"response_body_mode: NONE", "response_body_mode: FULL_DUPLEX_STREAMED",
}

func TestBadInputInFullDuplex(t *testing.T) {
	doortest.Run(t, func(t *testing.T, c affinity.Config) string { return newDoor(t, c, fullDuplex...).addr },
		"a service whose replicas are down")
}
