package config

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// Tolerant compiles sets whose objects have many owners, as in a cluster: one owner's mistake must not freeze the
// configuration of all others. An object that an error is about is not used: the last version of it that could be used stands
// in for it, and where there is none, it is left out. The zero value is ready and knows no earlier versions. It is not safe
// for concurrent use.
//
// Every error is told all the same, with what is used in the place of its object. Where two objects exclude each other, the
// error is about one of them, and the other one is used.
type Tolerant struct {
	good *resource.Set // what the last configuration was made from; nil: there was none
}

// Tolerated is what came of a set.
type Tolerated struct {
	Compiled *Compiled     // nil: an error is about no object in particular, and there is no configuration
	Set      *resource.Set // what it was made from: valid as a whole
	Refused  int           // objects that are not used as they are
	Errors   diag.List     // all of them, however many: those of the list with the diagnostics among them
}

// stand is what stands in for an object that has an error.
type stand uint8

const (
	itself stand = iota
	lastVersion
	nothing
)

// Compile compiles what can be used of a set. found is what kept objects out of the set. When there is a configuration it can
// be applied, although the list may have errors.
func (t *Tolerant) Compile(set *resource.Set, found diag.List, o Options) (Tolerated, diag.List) {
	a := attempt{set: set, good: t.good, stands: map[string]stand{}}
	report := &reporter{}
	errors, warnings := split(found)
	for {
		if len(errors) > 0 && !a.giveWay(errors) {
			return Tolerated{Errors: a.tell(report)}, report.done()
		}
		tried := a.apply()
		compiled, all := compile(tried, o)
		var found diag.List
		if errors, found = split(all); len(errors) > 0 {
			continue
		}
		told := a.tell(report)
		for _, d := range slices.Concat(warnings, found) {
			report.add(d)
		}
		snapshot, err := affinity.Compile(compiled)
		if err != nil {
			d := uncompilable(err)
			report.add(d)
			told.Add(d)
			return Tolerated{Errors: told}, report.done()
		}
		t.good = tried
		return Tolerated{Compiled: &Compiled{Config: compiled, Snapshot: snapshot}, Set: tried, Refused: len(a.stands), Errors: told}, report.done()
	}
}

// attempt is the state of one Compile.
type attempt struct {
	set, good   *resource.Set
	before, now map[string]metav1.Object // the objects of good and set by name, once an error needs them
	stands      map[string]stand         // for each object that has an error
	errors      diag.List                // the first errors of each
}

// giveWay lets the objects that errors are about give way to what comes next. It reports false when nothing is left to try.
func (a *attempt) giveWay(errors diag.List) (changed bool) {
	if a.now == nil {
		a.before, a.now = versions(a.good), versions(a.set)
	}
	next, aboutNone := map[string]stand{}, false
	for _, d := range errors {
		_, told := a.stands[d.Object]
		if !told {
			a.errors.Add(d)
		}
		if d.Object == "" {
			aboutNone = true
			continue
		}
		next[d.Object] = lastVersion
		if before := a.before[d.Object]; told || before == nil || before == a.now[d.Object] {
			next[d.Object] = nothing
		}
	}
	for name, s := range next {
		changed = changed || a.stands[name] != s
		a.stands[name] = s
	}
	return changed && !aboutNone
}

// tell reports the errors, each with what is used in the place of its object, and gives them.
func (a *attempt) tell(r *reporter) (told diag.List) {
	for _, d := range a.errors {
		use := ""
		switch a.stands[d.Object] {
		case lastVersion:
			use = "until then its last valid version is used"
		case nothing:
			use = "until then the object is left out"
		}
		if d.Remedy != "" && use != "" {
			d.Remedy += "; "
		}
		d.Remedy += use
		r.add(d)
		told.Add(d)
	}
	return told
}

// apply is a set in which objects with errors have given way.
func (a *attempt) apply() *resource.Set {
	set, good := a.set, a.good
	if len(a.stands) == 0 {
		return set
	}
	if good == nil {
		good = &resource.Set{}
	}
	return &resource.Set{
		Gateways:         giveWay(a, set.Gateways, good.Gateways),
		VirtualServices:  giveWay(a, set.VirtualServices, good.VirtualServices),
		DestinationRules: giveWay(a, set.DestinationRules, good.DestinationRules),
		ServiceEntries:   giveWay(a, set.ServiceEntries, good.ServiceEntries),
		Services:         giveWay(a, set.Services, good.Services),
		EndpointSlices:   giveWay(a, set.EndpointSlices, good.EndpointSlices),
		AffinityPolicies: giveWay(a, set.AffinityPolicies, good.AffinityPolicies),
		APIGateways:      giveWay(a, set.APIGateways, good.APIGateways),
		HTTPRoutes:       giveWay(a, set.HTTPRoutes, good.HTTPRoutes),
		ReferenceGrants:  giveWay(a, set.ReferenceGrants, good.ReferenceGrants),
		PodLabels:        set.PodLabels,
	}
}

func giveWay[T metav1.Object](a *attempt, now, good []resource.Object[T]) []resource.Object[T] {
	out := make([]resource.Object[T], 0, len(now))
	for _, o := range now {
		if a.stands[o.Name()] == itself {
			out = append(out, o)
		}
	}
	for _, o := range good {
		if a.stands[o.Name()] == lastVersion {
			out = append(out, o)
		}
	}
	return out
}

// versions finds the objects of a set by their names.
func versions(set *resource.Set) map[string]metav1.Object {
	all := map[string]metav1.Object{}
	if set != nil {
		note(all, set.Gateways)
		note(all, set.VirtualServices)
		note(all, set.DestinationRules)
		note(all, set.ServiceEntries)
		note(all, set.Services)
		note(all, set.EndpointSlices)
		note(all, set.AffinityPolicies)
		note(all, set.APIGateways)
		note(all, set.HTTPRoutes)
		note(all, set.ReferenceGrants)
	}
	return all
}

func note[T metav1.Object](all map[string]metav1.Object, objects []resource.Object[T]) {
	for _, o := range objects {
		all[o.Name()] = o.Value
	}
}

// split parts errors from warnings.
func split(l diag.List) (errors, warnings diag.List) {
	for _, d := range l {
		if d.Severity == diag.Error {
			errors.Add(d)
		} else {
			warnings.Add(d)
		}
	}
	return errors, warnings
}
