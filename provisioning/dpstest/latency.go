// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"math"
	"strings"
	"time"
)

// anyDevice is the registration ID under which the latency table speaks of all devices it does not
// name.
const anyDevice = "*"

// SetLatency sets how far a device is from a hub, for the allocation policy "geoLatency". The
// registration ID "*" means every device that has no value of its own. A negative d takes the value
// back.
func (s *Server) SetLatency(registrationID, hubHost string, d time.Duration) {
	id, host := foldID(registrationID), strings.ToLower(hubHost)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d < 0 {
		delete(s.latencies[id], host)
		return
	}
	if s.latencies[id] == nil {
		s.latencies[id] = map[string]time.Duration{}
	}
	s.latencies[id][host] = d
}

// latency returns how far a device is from a hub.
func (s *Server) latency(registrationID, hubHost string) time.Duration {
	host := strings.ToLower(hubHost)
	s.mu.Lock()
	d, ok := s.latencies[foldID(registrationID)][host]
	if !ok {
		d, ok = s.latencies[anyDevice][host]
	}
	s.mu.Unlock()
	switch {
	case ok:
		return d
	case s.cfg.Latency != nil:
		return s.cfg.Latency(registrationID, hubHost)
	}
	return math.MaxInt64
}

// nearest returns the hubs with the lowest latency. The service hashes devices over those that are
// equally near.
func (s *Server) nearest(registrationID string, hubs []*linkedHub) []*linkedHub {
	var best []*linkedHub
	lowest := time.Duration(math.MaxInt64)
	for _, h := range hubs {
		d := s.latency(registrationID, h.Host())
		if d < lowest {
			best, lowest = nil, d
		}
		if d == lowest {
			best = append(best, h)
		}
	}
	return best
}
