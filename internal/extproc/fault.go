package extproc

import (
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/remora-proxy/remora/internal/session"
)

var errFault = status.Error(codes.Internal, "a fault in Remora; its log has the details")

// guarded ends one stream, and not the process, when serving it panics: the sessions of all users and the requests of the others are
// worth more than an early end, and whoever found a request that panics could otherwise end the process again and again. The one
// exception is a panic within package session, which may leave a part of the table locked for ever, so that requests, saves
// and reloads would wait for it: there the process must end, and its successor begins with what was saved.
//
// What a decision that panicked half-way had already taken hold of stays held until the process ends.
func (s *Server) guarded(serve func() error) (err error) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		if within(sessionPackage) {
			panic(reason)
		}
		s.stats.panics.Add(1)
		s.log.Error("a fault in Remora has ended a request: please report it", "panic", fmt.Sprint(reason), "stack", string(debug.Stack()))
		err = errFault
	}()
	return serve()
}

var sessionPackage = reflect.TypeFor[session.Key]().PkgPath()

// within reports whether a function of a package is on the stack, which a deferred function sees as it was at the panic.
func within(pkg string) bool {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, pkg+".") {
			return true
		}
		if !more {
			return false
		}
	}
}
