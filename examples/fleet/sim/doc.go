// SPDX-License-Identifier: Apache-2.0

// Package sim plays a fleet in virtual time: devices whose decisions are made by the library's own
// rules (internal/rules, driven as provisioning.Device drives them), or by the policy of another
// SDK, in front of the services of package service.
//
//	fleet := sim.NewFleet(sim.Fleet{
//		Devices: 1000, Hubs: []string{"hub-a", "hub-b"},
//		Settings: rules.Defaults(),
//		Boot:     func(device uint32) time.Duration { return 0 },
//	})
//	engine := sim.Engine{
//		Devices: 1000, World: world, Behaviour: fleet,
//		Asked: func(r service.Request, a service.Answer) { fmt.Println(r, a) },
//	}
//	err := engine.Run(ctx)
//
// # What a test of its honesty may set
//
// Package differential compares it with real Devices, request by request.
// Everything that chance or a test decides is given from outside:
//
//   - [Fleet].Random is the source of chance of a process, drawn from by internal/rules alone and
//     in the order in which provisioning.Device draws. Nil: a PCG of [Fleet].Seed and the device.
//   - [Fleet].Boot is when each device's process starts, [Fleet].Life how long it lives,
//     [Fleet].Remembers what is stored when it first starts, [Fleet].Settings what the rules are
//     set to.
//   - [Engine].Latency is the time from a request to its answer. 0 is that of a test's bubble,
//     where nothing takes time: events are then played one instant after the other. Else all
//     devices are played on several cores, for as long as one answer takes: nothing that one does
//     can reach another sooner. Both ways, the result depends on the seed alone.
//   - [Engine].Asked is told every request in the order in which the services see them: the device,
//     the kind, the virtual time since the beginning, and the answer.
//
// # What is not played
//
// There is one transport to each service, and no certificate that expires. A device's own wall
// clock is right, or wrong until an answer of DPS has told the time. A connection that is up stays
// so, and is stable after 30 s, until the scenario ends it.
package sim
