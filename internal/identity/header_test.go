package identity

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestEveryByteOfTheUserSurvives(t *testing.T) {
	state, err := trace.ParseTraceState("vendor=value")
	if err != nil {
		t.Fatal(err)
	}
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true})
	for name, u := range map[string]*user.DefaultInfo{
		"plain":                     {Name: "jane", UID: "7", Groups: []string{"a", "b"}},
		"group with trailing space": {Name: "jane", Groups: []string{"system:masters "}},
		"not valid UTF-8":           {Name: "j\xff\xfe", Groups: []string{"\x00", ""}},
		"extra keeps its case":      {Name: "jane", Extra: map[string][]string{"Example.org/Key": {"V ", ""}, "k": nil}},
		"new lines":                 {Name: "jane\r\nX-Evil: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			want := Identity{User: u, ClientAddress: "[::1]:4711", ReceivedAt: time.Unix(5, 6), AuditID: "an ID \xff", Span: span}
			if err := Stamp(h, want); err != nil {
				t.Fatal(err)
			}
			got, err := Parse(h)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %#v of %#v, want %#v", got, got.User, want.User)
			}
		})
	}
}

func TestStampReplacesWhatIsThere(t *testing.T) {
	h := http.Header{Header: {"forged", "twice"}}
	if err := Stamp(h, Identity{User: &user.DefaultInfo{Name: "jane"}}); err != nil {
		t.Fatal(err)
	}
	if id, err := Parse(h); err != nil || id.User.GetName() != "jane" {
		t.Errorf("got %v, %v", id, err)
	}
}

func TestParseRefuses(t *testing.T) {
	nameless := http.Header{}
	_ = Stamp(nameless, Identity{User: &user.DefaultInfo{Groups: []string{"system:masters"}}})
	twice := http.Header{}
	_ = Stamp(twice, Identity{User: &user.DefaultInfo{Name: "jane"}})
	twice[Header] = append(twice[Header], twice[Header][0])
	for name, h := range map[string]http.Header{
		"nothing":    {},
		"not base64": {Header: {"*"}},
		"not proto":  {Header: {"_____w"}},
		"nameless":   nameless,
		"repeated":   twice,
	} {
		if id, err := Parse(h); err == nil {
			t.Errorf("%s: parsed as %v", name, id)
		}
	}
}
