package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/gateway"
)

func TestEveryTimeoutOfTheGatewayHasAPhaseAndAPlaceInTheManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operating.md")
	must(t, err)
	var timeouts gateway.Timeouts
	for name, at := range phases {
		if d := at(&timeouts); *d != 0 {
			t.Errorf("phase %s is a field that another phase is too", name)
		} else {
			*d = time.Second
		}
		if !strings.Contains(string(manual), "| `"+name+"` |") {
			t.Errorf("docs/operating.md does not have the phase %s", name)
		}
	}
	v := reflect.ValueOf(timeouts)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("no phase is gateway.Timeouts.%s", v.Type().Field(i).Name)
		}
	}
}
