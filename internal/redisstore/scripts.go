package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed" // the scripts
	"encoding/hex"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/remora-proxy/remora/internal/session"
)

//go:embed scripts/binding.lua
var bindingLua string

//go:embed scripts/put.lua
var putLua string

//go:embed scripts/count.lua
var countLua string

//go:embed scripts/lead.lua
var leadLua string

//go:embed scripts/drain.lua
var drainLua string

//go:embed scripts/drained.lua
var drainedLua string

//go:embed scripts/epoch.lua
var epochLua string

//go:embed scripts/agree.lua
var agreeLua string

// script is a script that the store may have already: it is called by the hash of its text.
type script struct{ text, sha string }

type scripts struct{ put, count, lead, drain, drained, epoch, agree *script }

func newScript(text string) *script {
	text = bindingLua + text
	sum := sha1.Sum([]byte(text))
	return &script{text, hex.EncodeToString(sum[:])}
}

func newScripts() scripts {
	return scripts{newScript(putLua), newScript(countLua), newScript(leadLua), newScript(drainLua), newScript(drainedLua), newScript(epochLua), newScript(agreeLua)}
}

// call is one call of a script: the keys, which a cluster has in one slot, and the other arguments.
type call struct{ keys, args []string }

// run runs a script several times, in one round trip. A server that does not have it, for it has been started anew or is another one
// now, gets it in a second.
func (sc *script) run(ctx context.Context, client rueidis.Client, calls []call) []rueidis.RedisResult {
	commands := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		commands[i] = sc.bySHA(client, c)
	}
	results := client.DoMulti(ctx, commands...)
	var missing []int
	for i := range results {
		if isMissing(results[i]) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return results
	}
	commands = commands[:0]
	for _, i := range missing {
		commands = append(commands, sc.byText(client, calls[i]))
	}
	for j, result := range client.DoMulti(ctx, commands...) {
		results[missing[j]] = result
	}
	return results
}

// one runs a script once, on one key.
func (sc *script) one(ctx context.Context, client rueidis.Client, key string, args []string) rueidis.RedisResult {
	return sc.once(ctx, client, call{[]string{key}, args})
}

// once runs a script once.
func (sc *script) once(ctx context.Context, client rueidis.Client, c call) rueidis.RedisResult {
	result := client.Do(ctx, sc.bySHA(client, c))
	if isMissing(result) {
		result = client.Do(ctx, sc.byText(client, c))
	}
	return result
}

func isMissing(r rueidis.RedisResult) bool {
	failure, ok := rueidis.IsRedisErr(r.Error())
	return ok && failure.IsNoScript()
}

func (sc *script) bySHA(client rueidis.Client, c call) rueidis.Completed {
	return client.B().Evalsha().Sha1(sc.sha).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

func (sc *script) byText(client rueidis.Client, c call) rueidis.Completed {
	return client.B().Eval().Script(sc.text).Numkeys(int64(len(c.keys))).Key(c.keys...).Arg(c.args...).Build()
}

// head is what the arguments of every script begin with: scripts/binding.lua.
func (s *Store) head(now session.Instant, more ...string) []string {
	args := make([]string, 0, 8)
	args = append(args, decimal(int64(now)+s.offset.Load()), s.graceText, s.idBytes)
	return append(args, more...)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
