// SPDX-License-Identifier: Apache-2.0

package service

// World is all that a fleet can reach.
type World struct {
	DPS  DPS
	Hubs []*HubModel
}

// Answer answers the next request.
func (w *World) Answer(r Request) Answer {
	if r.Kind == Connect {
		return w.Hubs[r.Hub].Answer(r)
	}
	return w.DPS.Answer(r)
}
