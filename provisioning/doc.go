// Package provisioning keeps an Azure IoT device connected to the hub it belongs to, and asks the
// Device Provisioning Service (DPS) which one that is only when it must.
//
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//		Store:       cache.Dir("/var/lib/sensor"),
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
// What the hub has taken confirms an assignment as a connection does. Device.ModelID announces the
// device's IoT Plug and Play model to the hub and to DPS.
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
//
// What the hub's answer calls for, by its class ([hubconn.Class]):
//
//	throttled    429; 403 with code     H not before Retry-After, jitter above it;
//	             403002 (quota)         none given: floor 10 s
//	server       any 5xx; CONNACK 3;    H: back-off, first retry at 5 s or later.
//	             CONNACK 5 that took    The first such failure also sets D to
//	             45 s or more           U(15, 30) min: a status lookup, another one
//	                                    after twice the time, and from the third
//	                                    time on a registration
//	unreachable  no answer; a           as server
//	             WebSocket upgrade
//	             refused by a proxy
//	untrusted    the server's           as server, floor 60 s; no credential is
//	             certificate does not   sent; never a reason to register. Only its
//	             verify                 dates wrong: the clock is checked
//	rejected     CONNACK 1, 2, 4, 5;    the clock is checked; was it wrong: once
//	             401, 403, 404 …; the   more, with a fresh token. Otherwise D now:
//	             hub's name is gone     register (after Stagger); H goes on at its
//	             while that of DPS      cap
//	             resolves
//	caller       an operation's own     returned to the caller; the connection
//	             fault: 400, 412, 413,  stays, and what is remembered; never
//	             415                    repeated
//
// What DPS's answer calls for:
//
//	another hub or device ID            remembered at once as a candidate, connected
//	                                    to, and confirmed when that worked; until
//	                                    then the old one is kept, and tried in turn
//	the same, after a rejection         H soon, the hub may lag behind; still
//	                                    rejected: D after 1, 5, 15, 30, 60 min ± 20 %
//	429                                 D not before Retry-After, jitter above it,
//	                                    the same request: a throttled poll polls the
//	                                    same operation
//	5xx, no answer, 409 (two            D: back-off, first retry at 5 s or later, the
//	registrations at once)              same request; H is untouched
//	404203, the operation is not known  register again
//	lookup: 404, unassigned             register
//	401, and our clock was wrong        correct it, once, and repeat
//	401, 403, 404201, disabled, failed  reported as an error; D after 1 h ± 20 %. A
//	                                    device never gives up by itself: bound it
//	                                    with ctx or Retry.MaxAttempts
//
// Past failures are forgotten only after a stable connection (30 s or more, and something
// acknowledged), or a request over HTTPS that the hub has served. A status lookup counts against
// the quota of registrations, so there is none where a remembered assignment would do.
//
// Besides these:
//
//   - Questions about an outage are never more than 24 h apart.
//   - While there is a candidate, the confirmed hub has every 2nd turn; every 4th once it has
//     rejected the device.
//   - The clock is corrected when it is more than 1 min off. The time that DPS has told is not
//     asked for again within 1 h, unless a stable connection lay in between. After 3 unanswered
//     questions for the time a device with a suspect clock goes on without.
//   - A device that registers over MQTT on port 8883 and remembers nothing registers after 3 failed
//     lookups, the last of which nobody answered: port 443 may be closed for good.
//   - Reprovision is refused, without a request, for 5 s after a failed request (for
//     Retry.MinDelay, if that is longer).
//
// Sources: Azure docs "How to reprovision devices", "Best practices for large-scale IoT device
// deployments", "Manage device reconnections", and "Troubleshoot IoT Hub error codes"; RFC 9110
// §10.2.3 for Retry-After; MQTT 3.1.1 §3.2.2.3 for the return codes.
//
// # What is stored
//
// One entry of at most 512 bytes, beside the payload that DPS may have returned: ID scope,
// registration ID, endpoint, assigned hub and device ID, substatus, whether the hub has confirmed
// it, timestamps, a checksum and a seal by the device's own key. No key and no token. It is written
// when something has changed: a steady reboot writes nothing. What could not be written is written
// at the next change, at the next connection, or when Run, or whichever call it is, ends.
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
