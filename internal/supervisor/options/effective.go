package options

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"triptych.dev/triptych/internal/tier"
)

// Setting is one setting of a supervisor.
type Setting struct {
	// Name is its path in the configuration file, such as securePort or flags.v.
	Name string `json:"name"`
	// Value is as text.
	Value string `json:"value"`
	// From is a file, --FLAG, or default.
	From string `json:"from"`
}

// Default is where a setting is from that nobody gave.
const Default = "default"

// Settings are the names of all settings of the file at its top.
func Settings() []string {
	var names []string
	of := reflect.TypeFor[File]()
	for i := range of.NumField() {
		if name := nameOf(of.Field(i)); name != "apiVersion" && name != "kind" {
			names = append(names, name)
		}
	}
	return names
}

func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// flagOf is the flag of a setting, or nil: etcdCAFile is --etcd-cafile, and memoryLimits,
// which has several, --memory-limit.
func flagOf(fs *pflag.FlagSet, setting string) *pflag.Flag {
	squeezed := strings.ToLower(setting)
	var found *pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) {
		if _, forwarded := f.Value.(*recorder); forwarded {
			return
		}
		if name := strings.ReplaceAll(f.Name, "-", ""); name == squeezed || name+"s" == squeezed {
			found = f
		}
	})
	return found
}

// top is the part of a setting's path before the first dot.
func top(setting string) string {
	name, _, _ := strings.Cut(setting, ".")
	return name
}

// filesOf are the files that say something about a flag, as their user called them.
func (o *Options) filesOf(flag string) []string {
	files := map[string]bool{}
	for setting, file := range o.origins {
		own := flagOf(o.flags, top(setting))
		if setting == "flags."+flag || own != nil && own.Name == flag {
			files[o.called(file)] = true
		}
	}
	return slices.Sorted(maps.Keys(files))
}

// Given returns the options of what the files say alone: what they leave out is in no
// list.
func (o *Options) Given() *Options {
	only := *o
	only.given, only.bare = nil, true
	return &only
}

// Effective is the file by which every setting is what it is here, defaults among them.
func (o *Options) Effective() *File {
	if o.bare {
		return o.file
	}
	f := &File{APIVersion: APIVersion, Kind: Kind, Flags: map[string]values{}, TierFlags: map[tier.Name]map[string]values{}}
	to := reflect.ValueOf(f).Elem()
	for i := range to.NumField() {
		if flag := flagOf(o.flags, nameOf(to.Type().Field(i))); flag != nil && flag.Name != "tier-flag" {
			fill(to.Field(i), flag.Value)
		}
	}
	for _, s := range o.Forwarded.given {
		f.Flags[s.name] = append(f.Flags[s.name], s.value)
	}
	for name, settings := range o.TierFlags.given {
		f.TierFlags[name] = map[string]values{}
		for _, s := range settings {
			f.TierFlags[name][s.name] = append(f.TierFlags[name][s.name], s.value)
		}
	}
	return f
}

// fill sets a field of the file to what a flag has. What is empty stays left out.
func fill(field reflect.Value, value pflag.Value) {
	if many, ok := value.(pflag.SliceValue); ok {
		field.Set(reflect.ValueOf(many.GetSlice()))
		return
	}
	text := value.String()
	if text == "" {
		return
	}
	switch field.Kind() {
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
		scan(field.Elem(), text)
	case reflect.Slice:
		for one := range strings.SplitSeq(text, ",") {
			extend(field, one)
		}
	case reflect.Map:
		field.Set(reflect.MakeMap(field.Type()))
		for pair := range strings.SplitSeq(text, ",") {
			name, one, _ := strings.Cut(pair, "=")
			key, to := reflect.ValueOf(name).Convert(field.Type().Key()), reflect.New(field.Type().Elem()).Elem()
			if before := field.MapIndex(key); before.IsValid() {
				to.Set(before) // of a list
			}
			scan(to, one)
			field.SetMapIndex(key, to)
		}
	}
}

// extend adds to a list.
func extend(list reflect.Value, text string) {
	one := reflect.New(list.Type().Elem()).Elem()
	scan(one, text)
	list.Set(reflect.Append(list, one))
}

// scan sets a string, a number or a boolean; flags print what they read.
func scan(to reflect.Value, text string) {
	switch to.Kind() {
	case reflect.String:
		to.SetString(text)
	case reflect.Bool:
		yes, _ := strconv.ParseBool(text)
		to.SetBool(yes)
	case reflect.Int, reflect.Int64:
		n, _ := strconv.ParseInt(text, 10, 64)
		to.SetInt(n)
	case reflect.Slice:
		extend(to, text)
	default:
		panic(fmt.Sprintf("a setting of kind %s", to.Kind()))
	}
}

// List are all settings in force in the order of the file, and where each is from.
func (o *Options) List() []Setting {
	order := Settings()
	var all []Setting
	for name, value := range o.Effective().paths() {
		all = append(all, Setting{Name: name, Value: value, From: o.from(name)})
	}
	slices.SortFunc(all, func(a, b Setting) int {
		if i, j := slices.Index(order, top(a.Name)), slices.Index(order, top(b.Name)); i != j {
			return i - j
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

func (o *Options) from(setting string) string {
	flag := flagOf(o.flags, top(setting))
	if forwarded, ok := strings.CutPrefix(setting, "flags."); ok {
		flag = o.flags.Lookup(forwarded)
	}
	if flag != nil && o.given[flag.Name] {
		return "--" + flag.Name
	}
	if file := o.origins[setting]; file != "" {
		return file
	}
	return Default
}
