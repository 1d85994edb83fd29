package faults

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"

	"triptych.dev/triptych/test/harness"
)

// Verb of an Op.
type Verb string

const (
	Get    Verb = "get"
	Create Verb = "create"
	Update Verb = "update" // with a resourceVersion
	Patch  Verb = "patch"  // without
	Delete Verb = "delete"
)

// Outcome is what the client knows after an Op.
type Outcome string

const (
	Done     Outcome = "done"
	Absent   Outcome = "absent"   // 404 about this object
	Exists   Outcome = "exists"   // 409 AlreadyExists
	Conflict Outcome = "conflict" // 409 Conflict
	// Refused was never executed: not sent, or answered 429 or 503 with Retry-After,
	// after which client-go sends any verb again.
	Refused Outcome = "refused"
	// Unknown may have been executed, or may be still.
	Unknown Outcome = "unknown"
)

// Version of an object: which write made it, and its resourceVersion (0: not known).
type Version struct {
	Value int64  `json:"value,omitempty"`
	RV    uint64 `json:"rv,omitempty"`
}

// Op is one request about one object, and a line of a kept history. Times are
// nanoseconds since the scene began.
type Op struct {
	Round  int    `json:"round"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Client int    `json:"client"`
	Verb   Verb   `json:"verb"`
	// Value is what a write wants to be known by: no two write the same.
	Value int64 `json:"value,omitempty"`
	// Base is the value of the version that an update replaces.
	Base    int64   `json:"base,omitempty"`
	Call    int64   `json:"call"`
	Return  int64   `json:"return"`
	Outcome Outcome `json:"outcome"`
	// Saw is what a Done Op returned; nothing for a delete.
	Saw Version `json:"saw,omitzero"`
	// Code is the status, 0 without an answer.
	Code int    `json:"code,omitempty"`
	Said string `json:"said,omitempty"`
	// Failure is the kind of failure for the table, empty if the answer is one of a
	// working API.
	Failure string `json:"failure,omitempty"`
}

// object is what is read of any resource here.
type object struct {
	Metadata struct {
		Name            string            `json:"name"`
		ResourceVersion string            `json:"resourceVersion"`
		Annotations     map[string]string `json:"annotations"`
	} `json:"metadata"`
}

func (o object) version() Version {
	rv, _ := strconv.ParseUint(o.Metadata.ResourceVersion, 10, 64)
	value, _ := strconv.ParseInt(o.Metadata.Annotations[valueKey], 10, 64)
	return Version{Value: value, RV: rv}
}

type status struct {
	Reason  string `json:"reason"`
	Details *struct {
		Name string `json:"name"`
	} `json:"details"`
}

// Failures that no fault excuses: a client acts on them.
const (
	failedNotFound = "404 for what exists"
	failedDenied   = "401 or 403"
)

// settle writes down what came of op.
func (op *Op) settle(answer harness.Answer, err error) {
	op.Outcome, op.Failure = judge(answer, err)
	op.Code = answer.Code
	if err != nil {
		op.Said = err.Error()
	} else if op.Outcome == Refused || op.Outcome == Unknown {
		op.Said = answer.String()
	}
	if op.Outcome != Done || op.Verb == Delete {
		return
	}
	var o object
	if err := json.Unmarshal(answer.Body, &o); err != nil {
		op.Outcome, op.Said, op.Failure = Unknown, err.Error(), "answer unreadable"
		return
	}
	op.Saw = o.version()
}

// judge tells what an answer says about the request, and how it failed.
func judge(answer harness.Answer, err error) (Outcome, string) {
	if err != nil {
		if dial := (&net.OpError{}); errors.As(err, &dial) && dial.Op == "dial" {
			return Refused, "not connected"
		}
		return Unknown, "no answer"
	}
	var said status
	_ = json.Unmarshal(answer.Body, &said) // what is no Status says nothing
	again := answer.Header.Get("Retry-After") != ""
	switch code := answer.Code; {
	case code < 300:
		return Done, ""
	case code == http.StatusNotFound && said.Details != nil && said.Details.Name != "":
		return Absent, ""
	case code == http.StatusNotFound:
		return Refused, failedNotFound // the resource itself, which is always there
	case code == http.StatusConflict && said.Reason == "AlreadyExists":
		return Exists, ""
	case code == http.StatusConflict:
		return Conflict, ""
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return Refused, failedDenied
	case again && (code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests):
		return Refused, strconv.Itoa(code)
	case code >= 500:
		return Unknown, strconv.Itoa(code)
	default:
		return Refused, strconv.Itoa(code)
	}
}
