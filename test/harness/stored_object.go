package harness

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// Object is what an API server stored, whatever the encoding. Built-in types and
// JSON are known; what is encrypted is not.
func Object(value []byte) (map[string]any, error) {
	object := map[string]any{}
	switch Encoding(value) {
	case "json":
		return object, json.Unmarshal(value, &object)
	case "protobuf":
		decoded, kind, err := scheme.Codecs.UniversalDeserializer().Decode(value, nil, nil)
		if err != nil {
			return nil, err
		}
		object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(decoded)
		if err != nil {
			return nil, err
		}
		object["apiVersion"], object["kind"] = kind.GroupVersion().String(), kind.Kind
		return object, nil
	}
	return nil, fmt.Errorf("it is stored as %s", Encoding(value))
}
