// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// stateVersion is the form of saved states that this package writes and reads.
const stateVersion = 1

// state is what a server keeps over a restart. Operations that devices still poll, limits, faults
// and logs are not part of it: a device that polls a lost operation is answered 404203, and
// registers again.
type state struct {
	Version          int                        `json:"version"`
	IDScope          string                     `json:"idScope"`
	ServiceKey       string                     `json:"serviceKey"`
	Enrollments      []*IndividualEnrollment    `json:"enrollments"`
	EnrollmentGroups []*EnrollmentGroup         `json:"enrollmentGroups"`
	CAs              map[string][]byte          `json:"cas"` // DER, by name
	Registrations    []registrationState        `json:"registrations"`
	Moves            map[string]string          `json:"moves"`
	Hubs             map[string]json.RawMessage `json:"hubs"` // by host, as hubtest writes them
	Issuer           json.RawMessage            `json:"issuer,omitempty"`
}

type registrationState struct {
	Record     Record                `json:"record"`
	Hub        string                `json:"hub"`
	Device     string                `json:"device"`
	By         string                `json:"by"`
	Profile    string                `json:"profile,omitempty"`
	Identity   hubtest.Device        `json:"identity"`
	Individual *IndividualEnrollment `json:"individual,omitempty"`
	Group      *EnrollmentGroup      `json:"group,omitempty"`
	Twin       *InitialTwin          `json:"twin,omitempty"`
	HubKey     string                `json:"hubKey,omitempty"`
}

// Save writes everything operators and devices have made as JSON, for [Server.Load]: enrollments,
// groups, CAs, registration records, the key of operators, the issuer of certificates with its
// keys, and the registries and twins of the linked hubs. The output holds secrets. Which hubs are
// linked, and with what weight, is the program's to say and not part of it.
func (s *Server) Save(w io.Writer) error {
	out := state{
		Version: stateVersion, IDScope: s.cfg.IDScope, CAs: map[string][]byte{},
		Hubs: map[string]json.RawMessage{}, Enrollments: []*IndividualEnrollment{},
		EnrollmentGroups: []*EnrollmentGroup{}, Registrations: []registrationState{},
	}
	// No device is between two hubs while the turn is ours.
	s.turn <- struct{}{}
	defer func() { <-s.turn }()

	s.mu.Lock()
	out.ServiceKey, out.Moves = s.serviceKey, maps.Clone(s.moves)
	for _, id := range slices.Sorted(maps.Keys(s.individuals)) {
		out.Enrollments = append(out.Enrollments, s.individuals[id])
	}
	for _, id := range slices.Sorted(maps.Keys(s.groups)) {
		out.EnrollmentGroups = append(out.EnrollmentGroups, s.groups[id])
	}
	for name, ca := range s.authorities {
		out.CAs[name] = ca.Raw
	}
	for _, id := range slices.Sorted(maps.Keys(s.records)) {
		r := s.records[id]
		out.Registrations = append(out.Registrations, registrationState{
			Record: r.record, Hub: r.hub, Device: r.device, By: r.by, Profile: r.profile,
			Identity:   r.identity,
			Individual: r.terms.individual, Group: r.terms.group, Twin: r.terms.twin,
			HubKey: r.hubKey,
		})
	}
	hubs := slices.Clone(s.hubs)
	s.mu.Unlock()

	var err error
	if out.Issuer, err = json.Marshal(s.issuer); err != nil {
		return fmt.Errorf("dpstest: save: %w", err)
	}
	for _, h := range hubs {
		var b bytes.Buffer
		if err := h.Save(&b); err != nil {
			return err
		}
		out.Hubs[strings.ToLower(h.Host())] = b.Bytes()
	}
	e := json.NewEncoder(w)
	return e.Encode(out) // enrollments are never changed in place
}

// Load puts what Save wrote in the place of all enrollments, groups, CAs, records and of the linked
// hubs' registries; connections to those hubs end. What the state says of hubs that are not linked
// is left out, and their devices live, for the server, at a hub that was unlinked. A state that is
// damaged, or of another ID scope, is refused; the server is then as it was.
func (s *Server) Load(r io.Reader) error {
	var in state
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("dpstest: load: %w", err)
	}
	switch {
	case in.Version != stateVersion:
		return fmt.Errorf("dpstest: load: version %d, want %d", in.Version, stateVersion)
	case !strings.EqualFold(in.IDScope, s.cfg.IDScope):
		return fmt.Errorf("dpstest: load: the state is that of ID scope %q", in.IDScope)
	}
	if _, err := base64.StdEncoding.DecodeString(in.ServiceKey); err != nil || in.ServiceKey == "" {
		return fmt.Errorf("dpstest: load: serviceKey: not base64")
	}
	next, err := in.read()
	if err != nil {
		return fmt.Errorf("dpstest: load: %w", err)
	}

	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	hubs := slices.Clone(s.hubs)
	s.mu.Unlock()
	before, err := json.Marshal(s.issuer)
	if err == nil && in.Issuer != nil {
		err = json.Unmarshal(in.Issuer, s.issuer)
	}
	if err != nil {
		return fmt.Errorf("dpstest: load: issuer: %w", err)
	}
	if err := loadHubs(hubs, in.Hubs); err != nil {
		_ = json.Unmarshal(before, s.issuer) // what was written a moment ago
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serviceKey, s.moves = in.ServiceKey, in.Moves
	if s.moves == nil {
		s.moves = map[string]string{}
	}
	s.individuals, s.groups, s.authorities, s.records = next.individuals, next.groups,
		next.authorities, next.records
	s.operations, s.latest, s.order = map[string]*operation{}, map[string]*operation{}, nil
	return nil
}

// loadHubs loads all hubs or, if one refuses, none.
func loadHubs(hubs []*linkedHub, states map[string]json.RawMessage) error {
	var undo []func() error
	for _, h := range hubs {
		raw, ok := states[strings.ToLower(h.Host())]
		if !ok {
			continue
		}
		var before bytes.Buffer
		err := h.Save(&before)
		if err == nil {
			err = h.Load(bytes.NewReader(raw))
		}
		if err != nil {
			for _, f := range undo {
				_ = f() // what was saved a moment ago loads
			}
			return fmt.Errorf("dpstest: load: %w", err)
		}
		undo = append(undo, func() error { return h.Load(&before) })
	}
	return nil
}

// contents is a state that was found good.
type contents struct {
	individuals map[string]*IndividualEnrollment
	groups      map[string]*EnrollmentGroup
	authorities map[string]*x509.Certificate
	records     map[string]*registration
}

// read checks a state and makes what it tells.
func (in *state) read() (contents, error) {
	out := contents{
		individuals: map[string]*IndividualEnrollment{}, groups: map[string]*EnrollmentGroup{},
		authorities: map[string]*x509.Certificate{}, records: map[string]*registration{},
	}
	for _, e := range in.Enrollments {
		if err := e.restore(); err != nil {
			return out, err
		}
		out.individuals[foldID(e.RegistrationID)] = e
	}
	for _, g := range in.EnrollmentGroups {
		if err := g.restore(); err != nil {
			return out, err
		}
		out.groups[foldID(g.EnrollmentGroupID)] = g
	}
	for name, der := range in.CAs {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return out, fmt.Errorf("CA %q: %w", name, err)
		}
		out.authorities[name] = ca
	}
	for _, r := range in.Registrations {
		if !validID(r.Record.RegistrationID) {
			return out, fmt.Errorf(
				"registration: %q is not a registration ID", r.Record.RegistrationID,
			)
		}
		next := &registration{
			record: r.Record, hub: r.Hub, device: r.Device, by: r.By, profile: r.Profile,
			identity: r.Identity, hubKey: r.HubKey,
		}
		switch {
		case r.Individual != nil:
			if err := r.Individual.restore(); err != nil {
				return out, err
			}
			next.terms = r.Individual.terms()
		case r.Group != nil:
			if err := r.Group.restore(); err != nil {
				return out, err
			}
			next.terms = r.Group.terms()
		}
		next.terms.twin = r.Twin
		if next.record.Status == StatusAssigning {
			// Whatever was under way is lost with the process.
			next.record.Status = StatusUnassigned
			if next.hub != "" {
				next.record.Status, next.record.AssignedHub, next.record.DeviceID = StatusAssigned,
					next.hub, next.device
			}
		}
		out.records[foldID(r.Record.RegistrationID)] = next
	}
	return out, nil
}

// restore checks an enrollment that was saved.
func (e *IndividualEnrollment) restore() error {
	if e == nil || !validID(e.RegistrationID) {
		return fmt.Errorf("enrollment without a registration ID")
	}
	attestation, err := e.Attestation.normalize(false)
	if err != nil {
		return fmt.Errorf("enrollment %s: %w", e.RegistrationID, err)
	}
	e.Attestation = attestation
	return nil
}

func (g *EnrollmentGroup) restore() error {
	if g == nil || !validID(g.EnrollmentGroupID) {
		return fmt.Errorf("enrollment group without an ID")
	}
	attestation, err := g.Attestation.normalize(true)
	if err != nil {
		return fmt.Errorf("enrollment group %s: %w", g.EnrollmentGroupID, err)
	}
	g.Attestation = attestation
	return nil
}
