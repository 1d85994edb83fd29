package main

func grow(dir string, s settings) error { return nil }
