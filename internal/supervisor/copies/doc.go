// Package copies hands a process the files that its command line names: each as a copy in one
// folder, which is all that the process can read of what is ours or the user's. It so
// need not be able to enter the data directory, and keys that only root can read stay that way.
// Files that a file names, such as the certificates of a kubeconfig, are handed over with it, and a
// Unix socket by one that leads there. A copy is renewed when the file changes.
package copies
