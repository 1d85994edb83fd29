package diff

// exception is a difference that is kept.
type exception struct {
	scene, step string
	// why stands in docs/reference/differences.md, word for word.
	why string
}

const versionIsOurs = "`gitVersion` names our release behind the one of Kubernetes, and `gitCommit` and `buildDate` are ours."

var kept = []exception{
	{"health", "200 GET /version", versionIsOurs},
	{"health", "200 GET /version, as nobody", versionIsOurs},
	{"health", "200 GET /version/", versionIsOurs},
	{"urls", "200 GET /version?x=y", versionIsOurs},
}

// keptFor returns why the step may differ, "" if it may not.
func keptFor(sc scene, st step) string {
	for _, e := range kept {
		if e.scene == sc.name && e.step == st.title() {
			return e.why
		}
	}
	return ""
}
