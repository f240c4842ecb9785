// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	maxBody      = 1 << 20
	allocatePath = "/allocate/"
)

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /", s.files)
	m.HandleFunc("GET /api/events", s.watch)
	m.HandleFunc("GET /api/device", s.serveDevice)
	m.HandleFunc("GET /api/enrollments", s.serveEnrollments)
	m.HandleFunc("GET /api/recording", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(s.operator.scenario())
	})
	// each takes its own members of the body
	type body struct {
		Steps    []json.RawMessage `json:"steps"`
		Key      string            `json:"key"`
		On       bool              `json:"on"`
		Scenario json.RawMessage   `json:"scenario"`
		ID       string            `json:"id"`
		Group    string            `json:"group"`
	}
	post := func(path string, f func(body) (any, error)) {
		m.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var b body
			data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
			if err == nil {
				err = json.Unmarshal(data, &b)
			}
			var answer any
			if err == nil {
				answer, err = f(b)
			}
			if err != nil {
				answerJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
				return
			}
			answerJSON(w, http.StatusOK, answer)
		})
	}
	post("/api/do", func(b body) (any, error) { return struct{}{}, s.do(b.Steps) })
	post("/api/fault", func(b body) (any, error) {
		return struct{}{}, s.setFault(b.Key, b.On, b.Steps)
	})
	post("/api/record", func(b body) (any, error) { s.record(b.On); return struct{}{}, nil })
	post("/api/play", func(b body) (any, error) { return struct{}{}, s.play(b.Scenario) })
	post("/api/stop", func(body) (any, error) { s.stop(); return struct{}{}, nil })
	post("/api/key", func(b body) (any, error) { return s.key(b.ID, b.Group) })
	m.HandleFunc("POST "+allocatePath+"{hub}", s.allocate)
	return m
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// twin is the twin of a device at one hub.
type twin struct {
	Host     string         `json:"host"`
	Exists   bool           `json:"exists"`
	Tags     map[string]any `json:"tags"`
	Desired  map[string]any `json:"desired"`
	Reported map[string]any `json:"reported"`
	Version  int64          `json:"version"` // of Desired
}

// details are what the page shows of one device.
type details struct {
	Device  device               `json:"device"`
	Events  []event              `json:"events"`
	Twins   []twin               `json:"twins"`
	Initial *dpstest.InitialTwin `json:"initial"`
}

func (s *Server) serveDevice(w http.ResponseWriter, r *http.Request) {
	d, ok := s.fleet.find(r.FormValue("id"))
	if !ok { // it may have been refused, and live nowhere
		d = device{ID: r.FormValue("id"), DeviceID: r.FormValue("id")}
	}
	answer := details{Device: d, Events: s.history.of(d.ID, d.DeviceID), Twins: []twin{}}
	for _, h := range s.sim.Hubs {
		t := twin{Host: h.Host()}
		if at, ok := h.Twin(d.DeviceID); ok {
			t.Exists, t.Tags, t.Desired, t.Reported, t.Version = true, at.Tags, at.Desired,
				at.Reported, at.DesiredVersion
		}
		answer.Twins = append(answer.Twins, t)
	}
	if g, ok := s.sim.DPS.Group(d.Group); ok {
		answer.Initial = g.InitialTwin
	} else if e, ok := s.sim.DPS.Enrollment(d.ID); ok {
		answer.Initial = e.InitialTwin
	}
	answerJSON(w, http.StatusOK, answer)
}

// enrollment is an individual enrollment or a group, without its keys.
type enrollment struct {
	ID          string                     `json:"id"`
	Group       bool                       `json:"group"`
	Attestation string                     `json:"attestation"`
	Status      string                     `json:"status"`
	Reprovision *dpstest.ReprovisionPolicy `json:"reprovisionPolicy"`
	Allocation  string                     `json:"allocationPolicy"`
	Hubs        []string                   `json:"iotHubs"`
	Webhook     string                     `json:"webhookUrl,omitempty"`
	Initial     *dpstest.InitialTwin       `json:"initialTwin"`
}

func (s *Server) serveEnrollments(w http.ResponseWriter, _ *http.Request) {
	all := []enrollment{}
	hubs := func(hubs []string, one string) []string {
		if len(hubs) == 0 && one != "" {
			return []string{one}
		}
		return append([]string{}, hubs...)
	}
	webhook := func(d *dpstest.CustomAllocationDefinition) string {
		if d == nil {
			return ""
		}
		url, _, secret := strings.Cut(d.WebhookURL, "?") // its query may hold a key
		if secret {
			url += "?…"
		}
		return url
	}
	for _, g := range s.sim.DPS.Groups() {
		all = append(all, enrollment{
			g.EnrollmentGroupID, true, g.Attestation.Type, g.ProvisioningStatus,
			g.ReprovisionPolicy, g.AllocationPolicy, hubs(g.IoTHubs, g.IoTHubHostName),
			webhook(g.CustomAllocationDefinition), g.InitialTwin,
		})
	}
	for _, e := range s.sim.DPS.Enrollments() {
		all = append(all, enrollment{
			e.RegistrationID, false, e.Attestation.Type, e.ProvisioningStatus,
			e.ReprovisionPolicy, e.AllocationPolicy, hubs(e.IoTHubs, e.IoTHubHostName),
			webhook(e.CustomAllocationDefinition), e.InitialTwin,
		})
	}
	answerJSON(w, http.StatusOK, all)
}

// key returns the primary key of an enrollment: only when somebody asks for it.
func (s *Server) key(id, group string) (any, error) {
	var a dpstest.Attestation
	if g, ok := s.sim.DPS.Group(group); ok {
		a = g.Attestation
	} else if e, ok := s.sim.DPS.Enrollment(id); ok {
		a = e.Attestation
	}
	if a.SymmetricKey == nil {
		return nil, errors.New("there is no symmetric key")
	}
	return map[string]string{"primaryKey": a.SymmetricKey.PrimaryKey}, nil
}

// allocate is the webhook of the policy custom: it always chooses the hub that its address names.
func (s *Server) allocate(w http.ResponseWriter, r *http.Request) {
	i := slices.IndexFunc(s.sim.Hubs, func(h *hubtest.Hub) bool {
		return strings.EqualFold(h.Host(), r.PathValue("hub"))
	})
	if i < 0 {
		http.Error(w, "there is no such hub", http.StatusNotFound)
		return
	}
	answerJSON(w, http.StatusOK, map[string]string{"iotHubHostName": s.sim.Hubs[i].Host()})
}
