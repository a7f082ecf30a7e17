package cli

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var (
	yamlBlock    = regexp.MustCompile("(?ms)^```yaml\n# (\\S+)\n(.*?)^```$")
	consoleBlock = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")
)

// TestTheCommandsOfThePageYourService runs what the console blocks of docs/your-service.md say, in a folder with the files that its YAML
// blocks are (each begins with its name), and compares what is printed.
func TestTheCommandsOfThePageYourService(t *testing.T) {
	const page = "../../docs/your-service.md"
	text, err := os.ReadFile(page)
	must(t, err)
	archive := &txtar.Archive{}
	for _, m := range yamlBlock.FindAllSubmatch(text, -1) {
		archive.Files = append(archive.Files, txtar.File{Name: string(m[1]), Data: append([]byte("# "+string(m[1])+"\n"), m[2]...)})
	}
	blocks := consoleBlock.FindAllSubmatchIndex(text, -1)
	for _, at := range blocks {
		archive.Comment = append(append(archive.Comment, text[at[2]:at[3]]...), '\n')
	}
	if len(archive.Files) == 0 || len(blocks) == 0 {
		t.Fatalf("%s has no files or no commands", page)
	}
	got := play(t, archive)
	want := bytes.TrimSpace(archive.Comment)
	if got = bytes.TrimSpace(got); !bytes.Equal(got, want) {
		t.Errorf("%s is not what is printed:\n%s\nall of it:\n%s", page, firstDifference(want, got), strings.TrimSpace(string(got)))
	}
}
