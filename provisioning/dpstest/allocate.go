// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// A linkedHub is a hub that devices can be assigned to.
type linkedHub struct {
	*hubtest.Hub
	weight int
}

// Link makes hubs available to the allocation, each with weight 1. They accept the certificates of
// [Server.Issuer] from then on, see [hubtest.Hub.SetCredentialSync].
func (s *Server) Link(hubs ...*hubtest.Hub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hubs {
		h.SetIssuer(s.issuer)
		link := &linkedHub{Hub: h, weight: 1}
		if i := s.find(h.Host()); i >= 0 {
			s.hubs[i] = link
			continue
		}
		s.hubs = append(s.hubs, link)
	}
}

// Unlink takes a hub out of the allocation and reports whether it was linked. Devices that live
// there stay, until they register the next time.
func (s *Server) Unlink(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(host)
	if i < 0 {
		return false
	}
	s.hubs = slices.Delete(slices.Clone(s.hubs), i, i+1)
	return true
}

// SetWeight sets the allocation weight of a linked hub, 1 to 1000: the policy "hashed" gives each
// hub its weight's share of the devices.
func (s *Server) SetWeight(host string, weight int) error {
	if weight < 1 || weight > 1000 {
		return fmt.Errorf("dpstest: allocationWeight: %d is not 1 to 1000", weight)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(host)
	if i < 0 {
		return fmt.Errorf("dpstest: hub %s is not linked", host)
	}
	s.hubs = slices.Clone(s.hubs)
	s.hubs[i] = &linkedHub{Hub: s.hubs[i].Hub, weight: weight}
	return nil
}

// find returns the index of a linked hub, or -1. The caller holds the lock.
func (s *Server) find(host string) int {
	return slices.IndexFunc(s.hubs, func(h *linkedHub) bool {
		return strings.EqualFold(h.Host(), host)
	})
}

// linked returns a linked hub, or nil.
func (s *Server) linked(host string) *linkedHub {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(host); i >= 0 {
		return s.hubs[i]
	}
	return nil
}

// An Allocation is what a custom allocation knows when it decides. What its pointers lead to is the
// server's: do not write to it.
type Allocation struct {
	// RegistrationID is the device that registers.
	RegistrationID string
	// Individual is the enrollment that the device registers under, nil for a group.
	Individual *IndividualEnrollment
	// Group is the enrollment group that the device registers under, nil for an individual
	// enrollment.
	Group *EnrollmentGroup
	// CurrentHub is the hub the device is assigned to, "" at its first registration.
	CurrentHub string
	// CurrentDevice is its device ID there.
	CurrentDevice string
	// Payload is the device's custom payload, nil if it sent none.
	Payload json.RawMessage
	// LinkedHubs are the hubs to choose from; the current one alone when the device may not be
	// moved.
	LinkedHubs []string
}

// Allocated is what a custom allocation decides.
type Allocated struct {
	// Hub is the host name of the chosen hub, one of LinkedHubs. Anything else fails the
	// registration with errorCode 400207.
	Hub string
	// InitialTwin is used in place of the enrollment's. Nil: the enrollment's is used.
	InitialTwin *InitialTwin
	// Payload is returned to the device with every registration. Nil: none is.
	Payload json.RawMessage
}

// An allocationError is a failed allocation: the device's registration ends in status "failed".
type allocationError struct {
	code    int
	message string
}

func (e *allocationError) Error() string { return e.message }

// allocation returns the policy that chooses the hub of devices that register under the terms.
func (s *Server) allocation(t terms) string { return cmp.Or(t.allocation, s.cfg.AllocationPolicy) }

// allocate chooses the hub of a registration. No lock is held.
func (s *Server) allocate(
	ctx context.Context, c *call, dev attested, current place,
) (Allocated, error) {
	s.mu.Lock()
	hubs, moved := s.hubs, s.moves[foldID(c.registrationID)]
	s.mu.Unlock()

	var candidates []*linkedHub
	for _, h := range hubs {
		if len(dev.hubs) == 0 || slices.ContainsFunc(dev.hubs, func(name string) bool {
			return strings.EqualFold(name, h.Host())
		}) {
			candidates = append(candidates, h)
		}
	}
	stays := current.hub != "" && dev.stays(c.version)
	if stays {
		// The device stays whatever the allocation says, as long as DPS knows the hub at all.
		i := slices.IndexFunc(hubs, func(h *linkedHub) bool {
			return strings.EqualFold(h.Host(), current.hub)
		})
		if i < 0 {
			return Allocated{}, &allocationError{
				codeNoHub, "The hub the device is assigned to is not linked.",
			}
		}
		candidates = hubs[i : i+1 : i+1]
	}
	if moved != "" && !stays {
		i := slices.IndexFunc(hubs, func(h *linkedHub) bool {
			return strings.EqualFold(h.Host(), moved)
		})
		if i < 0 {
			return Allocated{}, &allocationError{
				codeNoHub, "The hub the device was moved to is not linked.",
			}
		}
		candidates = hubs[i : i+1 : i+1]
	}
	if len(candidates) == 0 {
		return Allocated{}, &allocationError{codeNoHub, "No IoT hub is linked for this enrollment."}
	}

	switch s.allocation(dev.terms) {
	case PolicyCustom:
		return s.customAllocate(ctx, c, dev, current, candidates)
	case PolicyGeoLatency:
		candidates = s.nearest(c.registrationID, candidates)
	case PolicyStatic:
		if len(candidates) > 1 {
			return Allocated{}, &allocationError{
				codeNoHub, "The static policy needs a hub in the enrollment.",
			}
		}
	}
	return Allocated{Hub: hashed(c.registrationID, candidates)}, nil
}

// customAllocate calls the custom allocation. It is called also about devices that may not move,
// for its payload.
func (s *Server) customAllocate(
	ctx context.Context, c *call, dev attested, current place, candidates []*linkedHub,
) (Allocated, error) {
	a := Allocation{
		RegistrationID: c.registrationID, Individual: dev.individual, Group: dev.group,
		CurrentHub: current.hub, CurrentDevice: current.device, Payload: c.payload,
	}
	for _, h := range candidates {
		a.LinkedHubs = append(a.LinkedHubs, h.Host())
	}
	allocate := s.cfg.Allocate
	if allocate == nil {
		allocate = func(ctx context.Context, a Allocation) (Allocated, error) {
			return s.callWebhook(ctx, a, dev)
		}
	}
	got, err := allocate(ctx, a)
	if e, ok := errors.AsType[*allocationError](err); ok {
		return Allocated{}, e
	}
	if err != nil {
		return Allocated{}, &allocationError{
			codeAllocationFailed, "Custom allocation failed: " + err.Error(),
		}
	}
	if !slices.ContainsFunc(a.LinkedHubs, func(name string) bool {
		return strings.EqualFold(name, got.Hub)
	}) {
		return Allocated{}, &allocationError{
			codeAllocationFailed,
			fmt.Sprintf("Custom allocation failed: %q is not one of the linked hubs.", got.Hub),
		}
	}
	return got, nil
}

// failure returns the error code and message of a failed registration.
func failure(err error) (int, string) {
	if e, ok := errors.AsType[*allocationError](err); ok {
		return e.code, e.message
	}
	return codeHubRefused, err.Error()
}

// hashed chooses by registration ID, in proportion to the weights. A hub that comes or goes moves
// no device between the others (weighted rendezvous hashing).
func hashed(registrationID string, hubs []*linkedHub) string {
	best, host := math.Inf(-1), ""
	for _, h := range hubs {
		sum := sha256.Sum256([]byte(foldID(registrationID) + "\n" + foldID(h.Host())))
		u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53) // in (0, 1)
		if score := -float64(h.weight) / math.Log(u); score > best {
			best, host = score, h.Host()
		}
	}
	return host
}
