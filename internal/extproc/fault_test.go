package extproc

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

func TestAPanicEndsTheStreamUnlessTheTableMayBeLocked(t *testing.T) {
	table := session.NewTable(session.Options{})
	table.Bind(1, 1, 1, affinity.DefaultIdleTimeout)
	s, err := New(Config{Engine: affinity.New(affinity.Options{Store: table})})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		serve func() error
		ends  bool // the process
	}{
		{"outside of the table", func() error { panic("a fault") }, false},
		{"within the table", func() error {
			table.Range(func(session.Entry) bool { panic("a fault") })
			return nil
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if reason := recover(); (reason != nil) != c.ends {
					t.Errorf("the panic went on as %v", reason)
				}
			}()
			if err := s.guarded(c.serve); status.Code(err) != codes.Internal {
				t.Errorf("got %v", err)
			}
		})
	}
}
