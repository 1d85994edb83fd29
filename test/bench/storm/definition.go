package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	domain = "storm.example.com"
	// perGroup is how many CRDs share a group, as with the operators that bring many.
	perGroup = 10
)

func groupOf(i int) string { return fmt.Sprintf("g%d.%s", i/perGroup, domain) }

func nameOf(i int) string { return fmt.Sprintf("storm%ds.%s", i, groupOf(i)) }

// groups is in how many groups that many CRDs are.
func groups(crds int) int { return (crds + perGroup - 1) / perGroup }

// definition is the i-th CRD, with that many described properties.
func definition(i, properties int) string {
	fields := map[string]any{}
	for p := range properties {
		fields[fmt.Sprintf("property%d", p)] = map[string]any{
			"type": "string", "maxLength": 100 + p,
			"description": fmt.Sprintf("Property %d of resource %d, %s.", p, i, strings.Repeat("described at some length ", 3)),
		}
	}
	object := func(fields map[string]any) map[string]any {
		return map[string]any{"type": "object", "properties": fields}
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": nameOf(i)},
		"spec": map[string]any{
			"group": groupOf(i), "scope": "Namespaced",
			"names": map[string]any{"plural": fmt.Sprintf("storm%ds", i), "kind": fmt.Sprintf("Storm%d", i)},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": object(map[string]any{"spec": object(fields)})},
			}},
		},
	})
	if err != nil {
		panic(err) // it is made of strings
	}
	return string(body)
}
