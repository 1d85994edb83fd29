package options

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"triptych.dev/triptych/internal/flagtable"
)

// overlay lays over on top of under: a setting that over names replaces that of
// under, and of what has settings by name each does so alone.
func overlay(under, over *File) {
	lay(reflect.ValueOf(under).Elem(), reflect.ValueOf(over).Elem())
}

func lay(under, over reflect.Value) {
	for i := range over.NumField() {
		if to, from := under.Field(i), over.Field(i); from.Kind() == reflect.Map {
			layMap(to, from)
		} else if !from.IsZero() {
			to.Set(from)
		}
	}
}

func layMap(to, from reflect.Value) {
	if from.Len() == 0 {
		return
	}
	if to.IsNil() {
		to.Set(reflect.MakeMap(to.Type()))
	}
	for _, key := range from.MapKeys() {
		value := from.MapIndex(key)
		if value.Kind() == reflect.Map { // of tierFlags
			merged := reflect.New(value.Type()).Elem()
			if before := to.MapIndex(key); before.IsValid() {
				layMap(merged, before)
			}
			layMap(merged, value)
			value = merged
		}
		to.SetMapIndex(key, value)
	}
}

// normalize gives flags the names by which overlay knows them.
func (f *File) normalize() error {
	var err error
	if f.Flags, err = normalized(f.Flags); err != nil {
		return fmt.Errorf("flags: %w", err)
	}
	for name, flags := range f.TierFlags {
		if f.TierFlags[name], err = normalized(flags); err != nil {
			return fmt.Errorf("tierFlags: %s: %w", name, err)
		}
	}
	return nil
}

func normalized(flags map[string]values) (map[string]values, error) {
	if flags == nil {
		return nil, nil
	}
	known := map[string]values{}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		as := flagtable.Normalize(strings.TrimLeft(name, "-"))
		if _, twice := known[as]; twice {
			return nil, fmt.Errorf("%s is there twice, with and without dashes: keep one", as)
		}
		known[as] = flags[name]
	}
	return known, nil
}

// paths are the settings that the file names, such as securePort or flags.v, and
// their values as text.
func (f *File) paths() map[string]string {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err) // it consists of strings and numbers
	}
	var tree map[string]any
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		panic(err)
	}
	delete(tree, "apiVersion")
	delete(tree, "kind")
	all := map[string]string{}
	flatten("", tree, all)
	return all
}

func flatten(prefix string, tree map[string]any, into map[string]string) {
	for name, value := range tree {
		switch value := value.(type) {
		case map[string]any:
			flatten(prefix+name+".", value, into)
		case []any:
			var words []string
			for _, one := range value {
				words = append(words, fmt.Sprint(one))
			}
			into[prefix+name] = strings.Join(words, ",")
		default:
			into[prefix+name] = fmt.Sprint(value)
		}
	}
}

// MarshalJSON implements json.Marshaler.
func (v values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return json.Marshal(v[0])
	}
	return json.Marshal([]string(v))
}
