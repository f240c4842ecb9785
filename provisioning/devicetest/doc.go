// SPDX-License-Identifier: Apache-2.0

// Package devicetest is the shortest way to a test of a device's program: a simulated network with
// DPS, two hubs and an enrolled device, in one call.
//
//	func TestItReports(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			s := devicetest.Start(t)
//			err := s.Device.Run(t.Context(), report) // your session
//			if got := s.Hub.Messages(); err != nil || len(got) != 1 {
//				t.Errorf("%v, %v", got, err)
//			}
//		})
//	}
//
// Everything is in memory, so that it works in a [testing/synctest] bubble, where time is virtual.
// What is more than this, such as certificates, groups, limits or sockets, is made of the parts by
// hand: packages [github.com/rehome-iot/rehome/hubconn/simnet],
// [github.com/rehome-iot/rehome/hubconn/hubtest] and
// [github.com/rehome-iot/rehome/provisioning/dpstest]. The parts are fields of [Simulation], and
// take whatever those packages can do: faults, moves, the back end's side.
package devicetest
