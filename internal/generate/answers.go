package generate

import (
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/problem"
)

// answer is what a client gets where Envoy has to answer a request itself: for one that Remora decided, what Remora's own gateway would
// say; for one that it should have decided, that it has not.
type answer struct {
	problem.Entry
	Flags   []string // Envoy's response flags, one of which the answer has
	Detail  string
	Comment string
}

// Undecided says whether the answer is for requests without a decision.
func (a answer) Undecided() bool { return a.Code == problem.Undecided }

// answers is answers.yaml: the mappers of a local_reply_config, as a YAML sequence. With failOpen, requests without a decision go on,
// and what stops them is not Remora's to explain.
func answers(failOpen bool) string {
	of := func(code problem.Code, comment, detail string, flags ...string) answer {
		return answer{problem.Lookup(code), flags, detail, comment}
	}
	list := []answer{
		of(problem.NoEndpoint, "No replica could be reached, or there is none.",
			"No replica of the service can take the request now; try again.", "UF", "UH", "NC"),
		of(problem.Overloaded, "A circuit breaker of the cluster is open.",
			"There are as many requests in flight as there may be; try again.", "UO"),
		of(problem.UpstreamReset, "The connection ended before the response.",
			"The connection to the replica ended before its response had begun; it may have acted on the request.", "UC", "UR", "LR"),
		of(problem.BadResponse, "The response is not HTTP.", "The replica's response is malformed.", "UPE"),
		of(problem.ResponseTimeout, "The time of the route, or of the retry policy, is up.",
			"The replica did not begin its response in time; it may have acted on the request.", "UT", "SI"),
	}
	if !failOpen {
		list = append(list, of(problem.Undecided, "The processor gave no decision, and remora.closed has stopped the request.",
			"Remora did not answer where the request goes; it has reached no replica; try again.", "FI"))
	}
	return render("answers.yaml", struct {
		Answers                                []answer
		Namespace, Pick, ContentType, TypeBase string
	}{
		list, extproc.MetadataNamespace, extproc.PickMetadata, problem.ContentType, problem.TypeBase,
	})
}
