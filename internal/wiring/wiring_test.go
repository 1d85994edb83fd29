package wiring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"triptych.dev/triptych/internal/tier"
)

// whole returns a wiring in which nothing is missing.
func whole(name tier.Name) Wiring {
	w := Wiring{
		Tier: name, Replica: string(name) + "-0", Head: tier.Aggregator, Lifeline: 6, PublicAddress: "10.0.0.1:6443",
		Listen: Listen{Hop: FD(3), Handshake: FD(4)},
		PKI:    PKI{CA: "ca.crt", Serving: KeyPair{"s.crt", "s.key"}, Self: KeyPair{"self.crt", "self.key"}},
		Tiers:  map[tier.Name][]Endpoint{},
	}
	for _, other := range tier.Order {
		w.Tiers[other] = []Endpoint{{Replica: string(other) + "-0", Hop: "127.0.0.1:1", Handshake: "127.0.0.1:2"}}
	}
	if name == tier.Aggregator {
		w.Listen.Public = FD(5)
	}
	if name != tier.Extensions {
		w.PKI.Delegation = KeyPair{"d.crt", "d.key"}
	}
	return w
}

func write(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "wiring.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestACompleteWiringIsReadAsItWasWritten(t *testing.T) {
	for _, name := range tier.Order {
		want := whole(name)
		got, err := Load(write(t, marshal(t, want)), name)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestAWiringMayBeYAML(t *testing.T) {
	want := whole(tier.Extensions)
	content := strings.ReplaceAll(string(marshal(t, want)), `"replica":"extensions-0"`, `"replica": extensions-0 # comment`+"\n")
	got, err := Load(write(t, []byte(content)), tier.Extensions)
	if err != nil || got.Replica != want.Replica {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAWiringForAnotherTierIsRefused(t *testing.T) {
	for _, name := range tier.Order {
		for _, reader := range tier.Order {
			if name == reader {
				continue
			}
			_, err := Load(write(t, marshal(t, whole(name))), reader)
			wantError(t, err, string(name), string(reader))
		}
	}
}

func TestEverythingInAWiringMustBeKnown(t *testing.T) {
	good := string(marshal(t, whole(tier.Core)))
	for name, c := range map[string]struct{ content, says string }{
		"unknown field":        {strings.Replace(good, `"replica"`, `"surprise":1,"replica"`, 1), "surprise"},
		"unknown nested field": {strings.Replace(good, `"hop":"fd:3"`, `"hop":"fd:3","hup":"fd:9"`, 1), "hup"},
		"field given twice":    {strings.Replace(good, `"replica"`, `"tier":"core","replica"`, 1), "tier"},
		"wrong type":           {strings.Replace(good, `"lifeline":6`, `"lifeline":"six"`, 1), "lifeline"},
		"no document":          {"{", "parse"},
		"empty":                {"", "tier"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, []byte(c.content))
			_, err := Load(path, tier.Core)
			wantError(t, err, c.says, path)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), "nowhere.json"), tier.Core)
	wantError(t, err, "nowhere.json")
}

func TestEveryMissingFieldIsNamed(t *testing.T) {
	for names, c := range map[string]struct {
		tier   tier.Name
		remove func(*Wiring)
	}{
		"replica":             {tier.Core, func(w *Wiring) { w.Replica = "" }},
		"listen.hop":          {tier.Core, func(w *Wiring) { w.Listen.Hop = "" }},
		"listen.handshake":    {tier.Core, func(w *Wiring) { w.Listen.Handshake = "" }},
		"listen.public":       {tier.Aggregator, func(w *Wiring) { w.Listen.Public = "" }},
		"pki.ca":              {tier.Core, func(w *Wiring) { w.PKI.CA = "" }},
		"pki.serving.cert":    {tier.Core, func(w *Wiring) { w.PKI.Serving.Cert = "" }},
		"pki.serving.key":     {tier.Core, func(w *Wiring) { w.PKI.Serving.Key = "" }},
		"pki.self.cert":       {tier.Core, func(w *Wiring) { w.PKI.Self.Cert = "" }},
		"pki.self.key":        {tier.Core, func(w *Wiring) { w.PKI.Self.Key = "" }},
		"pki.delegation.cert": {tier.Core, func(w *Wiring) { w.PKI.Delegation.Cert = "" }},
		"pki.delegation.key":  {tier.Aggregator, func(w *Wiring) { w.PKI.Delegation.Key = "" }},
		"publicAddress":       {tier.Core, func(w *Wiring) { w.PublicAddress = "" }},
		"tiers.extensions":    {tier.Core, func(w *Wiring) { delete(w.Tiers, tier.Extensions) }},
		"tiers.aggregator":    {tier.Core, func(w *Wiring) { w.Tiers[tier.Aggregator][0].Handshake = "" }},
		"tiers.core":          {tier.Core, func(w *Wiring) { w.Tiers[tier.Core][0].Replica = "core-1" }},
		"tiers.aggregator|name of its own": {tier.Core, func(w *Wiring) {
			w.Tiers[tier.Aggregator] = append(w.Tiers[tier.Aggregator], w.Tiers[tier.Aggregator]...)
		}},
		// All mistakes at once, or the user starts as often as there are mistakes.
		"pki.ca|replica|tiers.core": {tier.Core, func(w *Wiring) { w.PKI.CA, w.Replica, w.Tiers[tier.Core] = "", "", nil }},
	} {
		t.Run(names, func(t *testing.T) {
			w := whole(c.tier)
			c.remove(&w)
			_, err := Load(write(t, marshal(t, w)), c.tier)
			wantError(t, err, strings.Split(names, "|")...)
		})
	}
}

func TestAPublicAddressWithoutAPortIsRefused(t *testing.T) {
	w := whole(tier.Core)
	w.PublicAddress = "10.0.0.1"
	_, err := Load(write(t, marshal(t, w)), tier.Core)
	wantError(t, err, "publicAddress", "port")
}
