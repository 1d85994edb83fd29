// Package diff replays the same requests at ours and at the stock kube-apiserver
// and compares the answers: status, headers, and bodies without what no two servers
// have in common, such as UIDs and times. A difference is a failure, or is listed
// with its reason in kept.go and docs/reference/differences.md.
//
// A scene is a list of steps that build upon one another; scenes stand in the files
// that are named after what they are about. All are played three times: on
// untouched servers, again after each tier was restarted, and in direct mode what is
// not about aggregation.
package diff
