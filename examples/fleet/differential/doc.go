// SPDX-License-Identifier: Apache-2.0

// Package differential has the test that makes the simulation of a fleet worth believing. A
// thousand real Devices live through a scenario in a bubble of virtual time, at the simulators of
// DPS and of hubs; as many simulated ones live through the same, with the same random numbers. Both
// have to make the same requests: each line of one trace, with device, kind and time, is a line of
// the other.
//
// Nothing takes time in the bubble but waiting, and so it is in the simulation, which is why times
// are compared to the nanosecond. No two devices boot at the same moment, since which of two
// requests is the first of a quota is otherwise a matter of chance. Where answers do take time the
// simulation plays all that happens within that at once, on several cores: a test of package sim
// holds this to the one instant after the other that is compared here.
//
// A device draws its delays from what the system's entropy is at its start, which the test gives it
// while nothing else runs. From of internal/jitter makes the same numbers of it.
//
// What a service is asked is what its simulator has logged. The connections to hubs are recorded on
// the way there, since one that is refused is in no log, and must agree with it; a question for the
// time does not say whose it is, which the device itself tells.
//
// Not compared is what the simulation does not play: a choice of transports, certificates that DPS
// issues, the renewal of tokens, modules, programs that ask for a registration themselves, and what
// a device forgets when its power goes.
package differential
