// Package backup is what a snapshot of a control plane is: one file, a tar archive, that
// any tar can read, and, if asked, sealed by age, which any age can open.
//
//	snapshot.json          Manifest
//	etcd.db                as etcd sent it, with etcd's hash at the end
//	extensions-etcd.db     the same of the etcd of custom resources, if they have one
//	pki/...                as in the data directory
//	config/supervisor.yaml, config/...   the settings, and the files that they name
//	SHA256SUMS             of all of the above, as sha256sum writes them; its absence is a file that was cut short
//
// A file is written under another name, synced, read back and then renamed: what has the name of
// a snapshot is whole.
package backup
