package options

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/tier"
)

//go:generate sh -c "go run triptych.dev/triptych/cmd/supervisor config schema > ../../../docs/reference/supervisor-configuration.schema.json"

// schema is the part of JSON Schema that a configuration file needs.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        any                `json:"type,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	Maximum     *int               `json:"maximum,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	// Additional is false where all properties are known.
	Additional *bool `json:"additionalProperties,omitempty"`
}

// Schema is the JSON schema of a configuration file, for editors. It refuses what is no
// setting; what a value means is left to Load.
func Schema() ([]byte, error) {
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	root := object(map[string]*schema{"apiVersion": {Type: "string", Enum: []string{APIVersion}}, "kind": {Type: "string", Enum: []string{Kind}}})
	root.Schema, root.Title, root.Required = "http://json-schema.org/draft-07/schema#", Kind, []string{"apiVersion", "kind"}
	of := reflect.TypeFor[File]()
	for i := range of.NumField() {
		name := nameOf(of.Field(i))
		if root.Properties[name] == nil {
			root.Properties[name] = described(fs, name, of.Field(i).Type)
		}
	}
	data, err := json.MarshalIndent(root, "", "  ")
	return append(data, '\n'), err
}

func object(properties map[string]*schema) *schema {
	return &schema{Type: "object", Properties: properties, Additional: new(bool)}
}

func described(fs *pflag.FlagSet, name string, of reflect.Type) *schema {
	switch name {
	case "flags":
		s := flagsFor("")
		s.Description = Describe(fs, name)
		return s
	case "tierFlags":
		tiers := map[string]*schema{}
		for _, name := range tier.Order {
			tiers[string(name)] = flagsFor(name)
		}
		s := object(tiers)
		s.Description = Describe(fs, name)
		return s
	}
	s := shapeOf(of)
	s.Description = Describe(fs, name)
	if strings.HasSuffix(name, "Port") {
		s.Minimum, s.Maximum = new(int), between(65535)
	}
	if name == "replicas" {
		for _, count := range s.Properties {
			count.Minimum, count.Maximum = between(1), between(MaxReplicas)
		}
	}
	return s
}

func between(n int) *int { return &n }

// Describe says what a setting is.
func Describe(fs *pflag.FlagSet, setting string) string {
	switch name, flag, _ := strings.Cut(setting, "."); {
	case name == "flags" && flag != "":
		known, _ := flagtable.Lookup(flag)
		return known.Usage
	case name == "flags":
		return "kube-apiserver's flags, by name without dashes; a list for one that is given repeatedly"
	case name == "tierFlags":
		return "flags for one tier each, which win over the same flags for all"
	}
	if flag := flagOf(fs, top(setting)); flag != nil {
		return flag.Usage
	}
	return ""
}

// flagsFor are the flags of all tiers, or those that may differ for one.
func flagsFor(name tier.Name) *schema {
	all := object(map[string]*schema{})
	for _, f := range flagtable.Flags {
		own := slices.Contains(perTier, f.Name) && f.KnownTo(name)
		if slices.Contains(reserved, f.Name) || supervisors(f.Name) || name != "" && !own {
			continue
		}
		one := []string{"string", "number", "boolean"}
		all.Properties[f.Name] = &schema{Description: f.Usage, Type: append(slices.Clone(one), "array"), Items: &schema{Type: one}}
	}
	return all
}

// supervisors tells flags of the tiers that are the supervisor's own, which sets them by
// settings beside flags.
func supervisors(name string) bool {
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	_, forwarded := fs.Lookup(name).Value.(*recorder)
	return !forwarded
}

func shapeOf(t reflect.Type) *schema {
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int64:
		return &schema{Type: "integer"}
	case reflect.Slice:
		return &schema{Type: "array", Items: shapeOf(t.Elem())}
	case reflect.Map:
		if t.Key() != reflect.TypeFor[tier.Name]() {
			return &schema{Type: "object"}
		}
		tiers := map[string]*schema{}
		for _, name := range tier.Order {
			tiers[string(name)] = shapeOf(t.Elem())
		}
		return object(tiers)
	}
	return &schema{Type: "string"}
}

// Explained is what there is to say about one setting.
type Explained struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Flag        string `json:"flag,omitempty"`
	Default     string `json:"default,omitempty"`
	Reach       Reach  `json:"change"`
	Description string `json:"description"`
	// Tiers are who is given it, for a flag of theirs.
	Tiers []tier.Name `json:"tiers,omitempty"`
}

// ExplainSetting says what there is to say about a setting such as securePort, flags.v or
// tierFlags.core.v; ok is false if there is none of that name.
func ExplainSetting(setting string) (e Explained, ok bool) {
	o, fs := New(), pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.AddFlags(fs)
	parts := strings.Split(setting, ".")
	field, ok := fieldOf(parts[0])
	if !ok {
		return e, false
	}
	e = Explained{Name: setting, Type: typeOf(field.Type), Reach: ReachOf(setting), Description: Describe(fs, setting)}
	if flag := flagOf(fs, parts[0]); flag != nil {
		e.Flag, e.Default = "--"+flag.Name, flag.DefValue
	}
	var known flagtable.Flag
	switch {
	case len(parts) == 1 && parts[0] == "flags":
		e.Reach = "by flag: see flags.NAME"
		return e, true
	case len(parts) == 1:
		return e, true
	case parts[0] == "flags" && len(parts) == 2:
		known, ok = flagtable.Lookup(parts[1])
		ok = ok && flagsFor("").Properties[known.Name] != nil
	case parts[0] == "tierFlags" && len(parts) == 3:
		known, ok = flagtable.Lookup(parts[2])
		ok = ok && flagsFor(tier.Name(parts[1])).Properties[known.Name] != nil
		known.Tiers = []tier.Name{tier.Name(parts[1])}
	default:
		_, err := tier.Parse(strings.Join(parts[1:], "."))
		e.Type = typeOf(field.Type.Elem())
		return e, field.Type.Kind() == reflect.Map && err == nil
	}
	e.Type, e.Default, e.Description, e.Tiers = known.Type, known.Default, known.Usage, known.Tiers
	if parts[0] == "flags" {
		e.Flag = "--" + known.Name
	}
	return e, ok
}

func fieldOf(name string) (reflect.StructField, bool) {
	of := reflect.TypeFor[File]()
	for i := range of.NumField() {
		if nameOf(of.Field(i)) == name && slices.Contains(Settings(), name) {
			return of.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

func typeOf(t reflect.Type) string {
	s := shapeOf(t)
	switch {
	case s.Items != nil:
		return "list of " + s.Items.Type.(string) + "s"
	case len(s.Properties) > 0:
		return "object of " + strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ")
	}
	return s.Type.(string)
}
