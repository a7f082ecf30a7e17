package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/remora-proxy/remora/internal/admin"
)

func TestADrainedReplicaThatLeavesTheConfigurationWhileItIsWaitedForIsEmpty(t *testing.T) {
	waits := 0
	mux := http.NewServeMux()
	mux.HandleFunc(admin.PathDrain, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(admin.Endpoints{})
	})
	mux.HandleFunc(admin.PathEndpoints, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(admin.Endpoints{})
	})
	mux.HandleFunc(admin.PathDrainWait, func(w http.ResponseWriter, _ *http.Request) {
		if waits++; waits == 1 {
			json.NewEncoder(w).Encode(admin.DrainWait{Live: 1, InFlight: 1})
			return
		}
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(admin.Problem{Code: admin.CodeUnknownEndpoint, Status: http.StatusNotFound})
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	var stdout, stderr bytes.Buffer
	status := Main("test", []string{"sessions", "drain", "127.0.1.1:8080", "--wait", "--gateway", server.URL}, Env{
		Stdin: &bytes.Buffer{}, Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" },
		Notify: func(...os.Signal) <-chan os.Signal { return nil },
	})
	if want := "127.0.1.1:8080 still has 1 session and 1 request in flight\n127.0.1.1:8080 is empty\n"; status != 0 || stderr.String() != want {
		t.Errorf("exit status %d, and said was\n%s", status, stderr.String())
	}
}
