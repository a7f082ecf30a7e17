package generate

import (
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/problem"
)

// answer is what a client gets where Envoy has to answer a request itself that Remora decided: what Remora's own gateway would say.
type answer struct {
	problem.Entry
	Flags   []string // Envoy's response flags, one of which the answer has
	Detail  string
	Comment string
}

// answers is answers.yaml: the mappers of a local_reply_config, as a YAML sequence.
func answers() string {
	of := func(code problem.Code, comment, detail string, flags ...string) answer {
		return answer{problem.Lookup(code), flags, detail, comment}
	}
	return render("answers.yaml", struct {
		Answers                                []answer
		Namespace, Pick, ContentType, TypeBase string
	}{
		[]answer{
			of(problem.NoEndpoint, "No replica could be reached, or there is none.",
				"No replica of the service can take the request now; try again.", "UF", "UH", "NC"),
			of(problem.Overloaded, "A circuit breaker of the cluster is open.",
				"There are as many requests in flight as there may be; try again.", "UO"),
			of(problem.UpstreamReset, "The connection ended before the response.",
				"The connection to the replica ended before its response had begun; it may have acted on the request.", "UC", "UR", "LR"),
			of(problem.BadResponse, "The response is not HTTP.", "The replica's response is malformed.", "UPE"),
			of(problem.ResponseTimeout, "The time of the route, or of the retry policy, is up.",
				"The replica did not begin its response in time; it may have acted on the request.", "UT", "SI"),
		},
		extproc.MetadataNamespace, extproc.PickMetadata, problem.ContentType, problem.TypeBase,
	})
}
