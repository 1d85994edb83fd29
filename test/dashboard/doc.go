// Package dashboard looks at the page of supervisor dashboard as its users do: in a browser, beside a control plane that
// runs.
package dashboard
