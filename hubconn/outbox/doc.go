// SPDX-License-Identifier: Apache-2.0

// Package outbox keeps a device's telemetry over outages, restarts and moves: Send returns when a
// message is on the medium, and it is delivered when there is a hub to deliver it to. It is a
// module of its own, for the database that it is built on, bbolt; it needs no cgo.
//
//	file, err := outbox.Open("/var/lib/sensor/outbox.db", outbox.Options{})
//	if err != nil {
//		log.Fatal(err) // one line, with the fix
//	}
//	defer file.Close()
//	box, err := file.Outbox("sensor-042")
//	if err != nil {
//		log.Fatal(err)
//	}
//	go measure(func(m hubconn.Message) error { return box.Send(ctx, m) })
//	err = dev.Run(ctx, box.Deliver) // on each connection, to whichever hub
//
// A session that does more than deliver calls [Outbox.Deliver] in a goroutine of its own. A gateway
// has the outboxes of all its devices in one file, and hands over what it has kept for a device
// that another one runs now ([Outbox.HandOver]). Until there is a release, a program's go.mod names
// the module and its root by replace, with the paths of a clone:
//
//	require github.com/rehome-iot/rehome/hubconn/outbox v0.0.0
//	replace github.com/rehome-iot/rehome => ../rehome
//	replace github.com/rehome-iot/rehome/hubconn/outbox => ../rehome/hubconn/outbox
//
// # What is promised
//
//	no loss     A message for which Send has returned nil reaches the hub, whatever becomes of
//	            the link, the hub, the process and the power: unless it gave way or grew too
//	            old by the bounds that you set, which is counted and told.
//	order       A hub sees each message of a lane for the first time after all that were kept
//	            before it, over cuts and moves too. After a cut the oldest that is not
//	            acknowledged is sent again, and so is all that comes after it.
//	at least    Messages that were on their way at a cut or a kill may come twice, with the
//	once        same MessageID: the sender's, or one that the outbox gives. Back ends drop what
//	            they have had.
//	alarms      SendAlarm has a lane of its own, which goes first and has room of its own.
//	bounds      By bytes for each device and lane (the oldest or the newest give way), and by
//	            age.
//
// # What it costs
//
// Messages that arrive within Interval, 1 s by default, share a commit of two fsyncs, and one more
// when the file doubles. What the hub has acknowledged is removed by the commits that keep
// something anyway, or after a minute: so a kill costs duplicates, and no writes are spent on
// avoiding them. Little of what is kept is in memory: 64 messages of a lane, 256 KiB at most, and
// what is in flight.
//
// Two cores keep 13,000 messages of 200 B a second with two fsyncs a second, and 33,000 with as
// many as a disk of a server can, from 20,000 goroutines (BenchmarkSend).
//
// Counted over 1,000 messages of 200 B, kept, delivered and removed, beside a log file of segments
// as one would write for this purpose (BenchmarkStorage):
//
//	messages        bbolt                log file
//	a commit     bytes  fsyncs        bytes  fsyncs
//	1           12.3 M   2,000        4.3 M   1,000
//	10           1.6 M     200        0.6 M     100
//	1,000        0.3 M       4        0.2 M       1
//
// The log would have written less for messages that come one by one: to spare a flash that matters,
// send several measurements in one message, or make Interval longer. The database has been proven
// by many and for long, holds thousands of devices in one file whose space is used again, and adds
// 0.4 MB to a stripped program for armv6 that has hubconn.
//
// # How it was tried
//
// A commit was watched, system call by system call, so that each state that a power cut could leave
// of it can be made: 4,000 of them are opened, and what was durable is there, in its order. `bash
// .ci/run kills` kills a program that keeps and delivers a thousand times, at any moment, and cuts
// a device's link and moves it between hubs a thousand times each.
//
// # What can be wrong with the file
//
// It belongs to one process at a time, and nothing ever removes it or writes it anew. A disk that
// is full, or becomes read-only, fails a Send, and what is kept is delivered all the same; on one
// that is read-only Open fails. A damaged file is told as that; each message has a checksum, and
// one that does not match is dropped, counted and told. Whoever may read the file may read the
// messages: they are not encrypted.
package outbox
