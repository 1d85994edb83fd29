package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheTableIsUpToDate(t *testing.T) {
	want, err := table()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../zz_generated.builtin.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zz_generated.builtin.go is not what core's registries store: run make generate")
	}
}
