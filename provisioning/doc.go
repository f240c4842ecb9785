// SPDX-License-Identifier: Apache-2.0

// Package provisioning keeps an Azure IoT device connected to the hub it belongs to, and asks the
// Device Provisioning Service (DPS) which one that is only when it must.
//
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//		Store:       cache.Dir("/var/lib/sensor"),
//		Logger:      slog.Default(),
//	}
//	err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
//		return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
//	})
//
// [Device] owns the loop: it remembers the assignment, connects there at every start without a
// request to DPS, and follows the rules below when the hub turns it away. The single exchange with
// DPS, and who the device is, are package dps; the single connection to a hub is package hubconn:
// each for programs with a loop of their own.
//
// A device that wakes, sends and sleeps needs no connection: [Device.Send] and [Device.Receive] are
// single requests over HTTPS, by the same rules, one request in place of an attempt to connect.
// What the hub has taken confirms an assignment as a connection does. [Device.SendBacklog] makes as
// many of them as it takes. An MQTT client of the program's own is led by the same rules, with
// [Device.NextAttempt], [Device.Confirm], [Device.Rejected] and [Device.Closed]. A [Module] is kept
// connected beside its device. Many Devices of one process share a [Budget], and are run by package
// fleet. Device.ModelID announces the device's IoT Plug and Play model to the hub and to DPS.
//
// The package does not set the system's clock, does not store messages while there is no
// connection, and does not speak AMQP. Tests of a device run against the simulator in package
// dpstest.
//
// # The rules
//
// Two timers run side by side: H is when to try the hub next, D is when to ask DPS next. A device
// that waits for DPS goes on trying the hub it remembers. Every delay is
//
//	floor + U(0, min(cap, 5 s · 2^(n-1)))
//
// for the n-th failure in a row: the floor is Retry-After on 429 and 5 s otherwise, the cap 5 min
// for the hub and 1 h for DPS. The random part is drawn after the cap, so that it never dies out.
// A DPS that throttles is left alone for longer: after a 429 to a registration or a lookup, D is
//
//	Retry-After + U(min(t, 2 h), min(3·max(t, 10 s), 4 h))
//
// where t is how long it has throttled the device already.
//
// At boot, by what the store says:
//
//	a valid entry for this ID scope,        H now: connect to that hub, with no
//	registration ID, endpoint, credential   request to DPS at all
//	no entry                                D now: register
//	the credential has changed since        D now: register
//	an entry of another ID scope,           as no entry
//	registration ID or endpoint
//	an entry that is damaged, badly         D now: status lookup; assigned: H now;
//	sealed or of a newer version, a store   404 or unassigned: register
//	that fails, no store
//	any of these, and an earlier process    the same, but not before what is left of
//	was told to wait                        that; a pending registration is resumed
//
// What the hub's answer calls for, by its class ([hubconn.Class]):
//
//	throttled    429; 403 with code     H not before Retry-After, jitter above it;
//	             403002 (quota)         none given: floor 10 s. For 24 h without a
//	                                    stable connection: an outage
//	server       any 5xx; CONNACK 3;    H: back-off, first retry at 5 s or later.
//	             CONNACK 5 that took    The first such failure also sets D to
//	             45 s or more           U(15, 30) min: a status lookup, another one
//	                                    after twice the time, and from the third
//	                                    time on a registration. A question that
//	                                    nobody answers counts as asked
//	unreachable  no answer; a           as server
//	             WebSocket upgrade
//	             refused by a proxy
//	untrusted    the server's           as server, floor 60 s; no credential is
//	             certificate does not   sent. Only its dates wrong: the clock is
//	             verify                 checked
//	rejected     CONNACK 2, 4, 5; 401,  the clock is checked; was it wrong: once
//	             403, 404 …; the        more, with a fresh token. Otherwise D now:
//	             hub's name is gone     register (after Stagger). H and D then share
//	             in 3 tries over 2 min  the gaps below. Device.AfterRejection
//	             or more, while that    chooses otherwise
//	             of DPS resolves
//	incompatible CONNACK 1; an          D after 1 h + U(0, 20 %): register; H after
//	             assignment whose       its answer, or not at all if DPS said so. An
//	             connectionProfile is   older assignment keeps its turns
//	             not the classic one
//	caller       an operation's own     returned to the caller; the connection
//	             fault: 400, 412, 413,  stays, and what is remembered; never
//	             415                    repeated
//
// What DPS's answer calls for:
//
//	another hub or device ID            remembered at once as a candidate, connected
//	                                    to, and confirmed when that worked; until
//	                                    then the old one is kept, and tried when
//	                                    its own wait is over
//	the same, after a rejection         H soon, the hub may lag behind; still
//	                                    rejected: H, and D if it rejects again, after
//	                                    1, 5, 15, 30, 60 min ± 20 %
//	a 4xx that does not bear the        a proxy spoke: as no answer
//	service's marks
//	429                                 D after Retry-After and one to three times as
//	                                    long as that has gone on, the same request; a
//	                                    throttled poll polls the same operation, after
//	                                    Retry-After and D's back-off
//	5xx, no answer, 409 (two            D: back-off, first retry at 5 s or later, the
//	registrations at once)              same request; H is untouched
//	404203, the operation is not known  register again
//	lookup: 404, unassigned             register
//	401, and our clock was wrong        correct it, once, and repeat
//	401, 403, 404201, disabled, failed  reported as an error; D after 1 h ± 20 %, of a
//	                                    device never assigned after 1, 5, 15 min
//	                                    first. A device never gives up by itself:
//	                                    bound it with ctx or Retry.MaxAttempts
//
// Past failures are forgotten only after a stable connection (30 s or more, and something
// acknowledged), one that the program closed after something was acknowledged, or a request over
// HTTPS that the hub has served: a hub that accepts every connection and drops it is an outage too.
// A status lookup counts against the quota of registrations, so there is none where a remembered
// assignment would do.
//
// What one hub asks for holds for that hub alone: wait, back-off and gaps are its own. The next try
// is the earliest that any hub in question allows. While the old hub accepts, the device stays
// there, and moves at the next connection after the new one's wait.
//
// Besides these:
//
//   - Questions about an outage are never more than 24 h apart. A planned one is held while the
//     device is connected. At boot the hub goes first: the question follows its failure, or 30 s.
//   - A Retry-After is honoured for up to 24 h; then comes one careful try.
//   - A hub that had accepted the device since DPS's last answer does not lag behind it: its
//     rejection goes to DPS at once, once until a stable connection.
//   - After DPS has named a hub for the first time, that has 3 quick tries before the first gap;
//     the old one gives way for U(30, 60) s.
//   - The clock is corrected when it is more than 1 min off. The time that DPS has told is not
//     asked for again within 1 h, unless a stable connection lay in between. A question for the
//     time that nobody answers backs off as any other, but never for longer than DPS has been away,
//     or 10 min. After 10 of them the device goes on without; after 3, if it may register over
//     another port and was rejected. It asks again once DPS shows that it is there, or after as
//     long as DPS had been away (10 min or more, 1 h at most). A correction sends a rejected device
//     to its hub first.
//   - A system's clock that DPS has found right and that then jumps is not followed back, nor ahead
//     by more than 30 days, which is as long as a device is believed to have been suspended.
//   - Nothing that comes first puts a planned question about an outage off.
//   - While a refusal by DPS is waited out, the time is asked for if nobody has told it: the clock
//     may be at fault.
//   - Stagger spreads the first request of any kind; clock checks over no more than 10 min. Where
//     the program sets none, what DPS has said with the newest assignment counts
//     ([dps.Assignment.Stagger]).
//   - That DPS throttles is over once it has assigned, taken up or refused the device, and goes on
//     over 5xx, silence and restarts.
//   - A device that may register over MQTT on port 8883 and remembers nothing registers after 3
//     failed lookups, the last of which nobody answered: port 443 may be closed for good. After 8
//     that failed with an answer, so does any other.
//   - A call whose ctx has a deadline ends at once where its next request lies behind that: Send,
//     Receive and NextAttempt, with a [TooSoonError].
//   - What the last of Retry.MaxAttempts failures calls for is done within the call where it is due
//     within 30 s, or within Stagger: one question to DPS, and the attempt at the hub it names.
//   - Between two questions to DPS about rejections that a client of the program's own has reported
//     lies 1 min at least, and 5 s between any two of its requests, whatever is reported.
//   - With a Budget, what is due waits for its turn: an attempt at the hub and a request to DPS
//     each for its own. To the rules the attempt, or the request, lasts longer; that is all.
//   - Reprovision is refused, without a request, for 5 s after a failed request (for
//     Retry.MinDelay, if that is longer).
//
// Sources: Azure docs "How to reprovision devices", "Best practices for large-scale IoT device
// deployments", "Manage device reconnections", and "Troubleshoot IoT Hub error codes"; RFC 9110
// §10.2.3 for Retry-After; MQTT 3.1.1 §3.2.2.3 for the return codes.
//
// # The transports
//
// Where Device.Transport and Hub.Transport leave the choice open, an attempt that has not reached
// the service over the one transport goes on over the other:
//
//	hub                 MQTT on port 8883, then MQTT over WebSocket on port 443
//	DPS: registrations  HTTPS on port 443, then MQTT on port 8883
//
// A service is reached when it has shown a certificate that verifies. From then on the attempt ends
// with whatever comes or does not come: a refusal, a wait asked for, silence. So no service has
// more than one request of an attempt, and the rules above see one outcome of it: unreachable, or
// untrusted, only where that is so over both. A port that is closed or drops what is sent there, a
// certificate that does not verify and a response that somebody else gave in place of the service
// (but no 429 and no 5xx, which may be its front end's) make an attempt go on.
//
// The first of the two has 15 s (at the hub Hub.DialTimeout, if that is set) to reach the service;
// after an attempt that has reached nobody, or not within that, its full time: a link may be slow.
// The other goes first from then on, also after a restart, once the service has responded over it.
// The preferred one goes first again at the first attempt after 24 h: networks change, and a port
// that drops everything costs those 15 s once a day. A live connection is left where it is. Where
// the service has shown its certificate and then nothing, in 3 attempts in a row, the next one
// begins with the other: a firewall may cut what it does not know. Where an earlier process has
// found the service silent, one such attempt will do, and after three they take turns: a process
// may have no time for more than one. One that lives for less than 45 s, and keeps no waits, names
// the transport. After 3 connections to the hub in a row that were lost before they were stable,
// the other goes first as well, and is remembered once a connection has become stable over it.
//
// Status lookups, the time, and the single requests of Send and Receive use HTTPS alone.
//
// # Credentials
//
// A device may hold several. A hub is shown them in this order, the next one at once where it has
// refused the one before; all of them together are one attempt, and one failure, to the rules:
//
//	the newest certificate issued to it     Device.Issuance; shown even if it seems to
//	                                        have expired
//	those issued before, while valid        they stay until a hub has accepted a newer
//	the attestation                         DPS is shown this first
//	the attestation before it changed       where it is a [dps.Source]
//	the second attestation                  Device.SecondAttestation
//
// One that was accepted where another was refused goes first for 24 h. A refusal by DPS moves on in
// the same way, unless its Date shows that the clock was wrong: that is corrected first. Status
// says which one is in use, and why no other.
//
// Where the attestation changes while the device runs, DPS is told by a registration, which Stagger
// spreads, while the connection stays; then that moves to the new credential, and the session goes
// on.
//
// With Issuance, a third timer runs beside H and D: R is when to have a certificate issued next.
//
//	60 to 80 % of the life is over,      the hub is asked, over its topics. A failure:
//	and the device is connected          again after what the hub asks for, and after
//	                                     10, 20, 40, 60 min (a tenth of what is left of
//	                                     the life, if that is less, but never under
//	                                     10 min), with jitter
//	85 to 95 % is over, or the hub will  D: a registration, while the connection stays;
//	not do it                            if it fails, both ways in turn
//	expired, and not connected           D now: register, and no attempt at the hub
//	                                     before its answer, but after 5 min or once D
//	                                     has failed. The clock is checked first
//	a registration without a             said in Status and the log; not asked for
//	certificate: no policy               again but at registrations for other reasons
//	a certificate that is no good        said in Status and the log; the one before
//	                                     stays, and another is asked for after 1 h. One
//	                                     that is not valid now: the clock is checked
//	                                     first
//
// Two tries are 10 min apart or more, restarts included; [Device.Renew] is exempt. The moments are
// drawn from the certificate itself, so that a restart draws the same and a fleet is spread.
//
// # Modules
//
// DPS knows no modules. A [Module] lives at the hub that its device is assigned to, by the rules
// above, with a credential and waits of its own; what differs:
//
//   - It belongs where its device was accepted last. It moves when the device does, and waits while
//     nobody knows where that belongs. While no call drives the device, it goes by the last that
//     DPS said, and asks as the device would if that is nothing.
//   - Where a device would ask DPS, a module asks its device, which registers (Reprovision, with
//     the module and the failure's class as the reason), if that can be news: not while a call is
//     about to connect the device, which asks for itself; not if DPS has named the same hub within
//     1 h, or since the device has been connected there; one module at a time.
//   - A rejected module asks at its first rejection since a stable connection and, lest nobody ever
//     does, at every 24th gap from then on. At the other gaps the hub alone is tried. A DPS that
//     refuses the device has answered.
//   - About a hub that is down a module asks only while no call drives its device.
//   - A rejection with a token is the clock's fault until shown otherwise, as the device's is.
//     What DPS has told the device of the time, or another module, within 1 h is not asked again.
//   - A question that the process did not live to hear the answer of counts as asked. Everything
//     else that a module was told to wait for survives as its device's waits do.
//
// A module that was removed from its hub tries that about 33 times in the first day, then 24 times
// a day, and causes one registration, if its device stays connected, and one a day, if nothing
// drives that.
//
// # What is stored
//
// One entry of at most 512 bytes, beside the payload that DPS may have returned: ID scope,
// registration ID, endpoint, assigned hub and device ID, substatus, whether the hub has confirmed
// it, which transport was found closed and when, timestamps, a checksum and a seal by the device's
// own key. No key and no token; what Issuance keeps stands beside it. It is written when something
// has changed: a steady reboot writes nothing. What could not be written is written at the next
// change, at the next connection, or when Run, or whichever call it is, ends.
//
// Waits survive the process where the Store is a [cache.WaitStore], as [cache.Dir] is: until when
// hub and DPS are to be left alone, a pending registration, the moments drawn, since when the hub
// is silent, and since when the device is not connected. Where [cache.Dir] has a runtime directory,
// nothing is written to flash for that but in an outage of a minute or more, or with a Stagger
// drawn: once when it begins, at each question about it and each warning of it in the log, and when
// it ends; by a board without a clock also once a wake. Without such a directory each failure
// writes a few hundred bytes beside the entry, unsynced. After a reboot without a clock that can be
// trusted only the outage goes on, and the first requests are spread over a minute. Whoever changes
// scope, ID, endpoint or credential waits for nothing.
//
// # The clock
//
// Devices boot in 1970. Tokens and certificates are judged by the latest of the system's clock, the
// program's build time and the newest time remembered, corrected by the Date of every answer of DPS
// over HTTPS; DPS is asked for the time when a rejection or a certificate makes the clock suspect.
// The correction holds until the system's clock proves right again, and over a suspend. It never
// goes below the build time. Below the newest time remembered, which may stem from a clock that was
// fast, it takes two answers that agree, 1 min or more apart, or a system clock that stands before
// the build: one peer with an expired certificate does not turn a right clock back. Waits are
// monotonic.
package provisioning
