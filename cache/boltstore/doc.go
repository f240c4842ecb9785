// SPDX-License-Identifier: Apache-2.0

// Package boltstore keeps what thousands of devices remember in one file, for a program that speaks
// for all of them: a gateway, a cloud connector. It is a module of its own, for the database that
// it is built on, bbolt; it needs no cgo.
//
//	store := &boltstore.Store{Path: "/var/lib/gateway/store.db"}
//	if err := store.Open(); err != nil {
//		log.Fatal(err) // one line, with the fix
//	}
//	defer store.Close()
//	for _, id := range ids {
//		dev := &provisioning.Device{IDScope: scope, Attestation: keyOf(id), Store: store}
//		go dev.Run(ctx, session)
//	}
//
// Until there is a release, a program's go.mod names the module and its root by replace, with the
// paths of a clone:
//
//	require github.com/rehome-iot/rehome/cache/boltstore v0.0.0
//	replace github.com/rehome-iot/rehome => ../rehome
//	replace github.com/rehome-iot/rehome/cache/boltstore => ../rehome/cache/boltstore
//
// # What is durable when
//
// Put and Delete return when the change is on the medium, as those of [cache.Dir] do. All that
// arrive while one commit is under way go into the next one together: a thousand devices that
// register at once cost a few commits, each of two fsyncs, and not a thousand. On a disk on which a
// directory of files takes 230 of them a second, that is 10,000 (BenchmarkPuts). A power cut or a
// kill leaves all of a commit or nothing, and never a torn file.
//
// Waits, which are worth nothing once the machine has restarted, are not in the database, where
// each would cost an fsync: they are kept as [cache.Dir] keeps them, in the runtime directory
// /run/rehome if there is one, else in the directory of the file's name and ".waits". No PutWaits
// syncs anything.
//
// # What can be wrong with the file
//
// It is opened by the first call, or by [Store.Open], and belongs to one process at a time: a
// second one gets an error. Nothing ever removes it or writes it anew. If it cannot be opened, each
// call fails with an error of type *[Error], and the file is tried again after a second: the
// devices go on in memory, as they do with a directory that fails, and ask DPS as the rules say. A
// program that opens the store first and ends where that fails spares DPS the questions of all.
//
// On a read-only file system the file is read: devices find their hubs, and a Put fails. On a full
// disk a Put fails, and what was stored before stays. A damaged file is told as that, and moving it
// away is for a person to do; each value has a checksum, so that a damaged one is an error and not
// another value. A file grows with what is in it and does not shrink; what is free in it is used
// again.
package boltstore
