package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// scenario is the file of faults: what happens when, counted from the ready line.
type scenario struct {
	Steps  []step   `json:"steps"`
	Repeat duration `json:"repeat"` // starts the scenario over after this time; 0: it is played once
}

// step is one moment of a scenario: one thing that happens, and perhaps its end.
type step struct {
	At  duration `json:"at"`
	For duration `json:"for"` // how long network and clockOffset last; 0: for good

	Network     *networkStep `json:"network"`
	Cut         string       `json:"cut"`         // resets the live connections to a host
	ClockOffset *duration    `json:"clockOffset"` // sets the services' clock against this machine's
	DPS         *dpsFault    `json:"dps"`
	Hub         *hubFault    `json:"hub"`
	Move        *placement   `json:"move"`       // at the device's next registration
	MoveNow     *placement   `json:"moveNow"`    // at once: its hub rejects it from now on
	Disable     string       `json:"disable"`    // an enrollment or a group
	Enable      string       `json:"enable"`     // an enrollment or a group
	Unlink      string       `json:"unlink"`     // a hub
	Link        string       `json:"link"`       // a hub
	Disconnect  *deviceAt    `json:"disconnect"` // closes a device's connection
	Clear       bool         `json:"clear"`      // takes back all that dps and hub injected
}

type networkStep struct {
	Host        string `json:"host"`
	Fault       string `json:"fault"`
	Certificate string `json:"certificate"`
	Stall       bool   `json:"stall"`
}

type placement struct {
	RegistrationID string `json:"registrationId"`
	Hub            string `json:"hub"`
}

type deviceAt struct {
	Hub      string `json:"hub"`
	DeviceID string `json:"deviceId"`
}

// dpsFault is a dpstest.Fault in JSON.
type dpsFault struct {
	On             string   `json:"on"`
	RegistrationID string   `json:"registrationId"`
	Transport      string   `json:"transport"`
	Skip           int      `json:"skip"`
	Times          int      `json:"times"`
	Perform        bool     `json:"perform"`
	Status         int      `json:"status"`
	Code           int      `json:"code"`
	Message        string   `json:"message"`
	RetryAfter     string   `json:"retryAfter"`
	NoRetryAfter   bool     `json:"noRetryAfter"`
	Body           *string  `json:"body"`
	ContentType    string   `json:"contentType"`
	ReturnCode     byte     `json:"returnCode"`
	SubackFailure  bool     `json:"subackFailure"`
	Delay          duration `json:"delay"`
	NoAnswer       bool     `json:"noAnswer"`
	Cut            bool     `json:"cut"`
	DropOperation  bool     `json:"dropOperation"`
}

func (f *dpsFault) fault() dpstest.Fault {
	out := dpstest.Fault{
		On: dpstest.Op(f.On), RegistrationID: f.RegistrationID, Transport: f.Transport, Skip: f.Skip, Times: f.Times, Perform: f.Perform,
		Status: f.Status, Code: f.Code, Message: f.Message, RetryAfter: f.RetryAfter, NoRetryAfter: f.NoRetryAfter, ContentType: f.ContentType,
		ReturnCode: f.ReturnCode, SubackFailure: f.SubackFailure, Delay: time.Duration(f.Delay), NoAnswer: f.NoAnswer, Cut: f.Cut,
		DropOperation: f.DropOperation,
	}
	if f.Body != nil {
		out.Body = []byte(*f.Body)
	}
	return out
}

// hubFault is a hubtest.Fault in JSON, and the hub that has it.
type hubFault struct {
	Host          string   `json:"host"`
	On            string   `json:"on"`
	DeviceID      string   `json:"deviceId"`
	Skip          int      `json:"skip"`
	Times         int      `json:"times"`
	Delay         duration `json:"delay"`
	NoAnswer      bool     `json:"noAnswer"`
	Cut           bool     `json:"cut"`
	Close         bool     `json:"close"`
	Stall         bool     `json:"stall"`
	Stored        bool     `json:"stored"`
	ReturnCode    byte     `json:"returnCode"`
	SubackFailure bool     `json:"subackFailure"`
	Status        int      `json:"status"`
	RetryAfter    string   `json:"retryAfter"`
	ErrorCode     string   `json:"errorCode"`
	Code          int      `json:"code"`
	Message       string   `json:"message"`
}

func (f *hubFault) fault() hubtest.Fault {
	return hubtest.Fault{
		On: stages[f.On], DeviceID: f.DeviceID, Skip: f.Skip, Times: f.Times, Delay: time.Duration(f.Delay), NoAnswer: f.NoAnswer, Cut: f.Cut,
		Close: f.Close, Stall: f.Stall, Stored: f.Stored, ReturnCode: f.ReturnCode, SubackFailure: f.SubackFailure, Status: f.Status,
		RetryAfter: f.RetryAfter, ErrorCode: f.ErrorCode, Code: f.Code, Message: f.Message,
	}
}

// The names of the file.
var (
	stages = map[string]hubtest.Stage{
		"upgrade": hubtest.Upgrade, "connect": hubtest.Connect, "connected": hubtest.Connected, "publish": hubtest.Publish, "subscribe": hubtest.Subscribe,
		"twinGet": hubtest.TwinGet, "twinPatch": hubtest.TwinPatch, "desired": hubtest.Desired, "method": hubtest.Method, "command": hubtest.Command,
		"send": hubtest.Send, "receive": hubtest.Receive, "settle": hubtest.Settle, "uploadStart": hubtest.UploadStart,
		"uploadNotify": hubtest.UploadNotify, "blobPut": hubtest.BlobPut,
	}
	operations = map[string]dpstest.Op{
		"": "", "register": dpstest.Register, "poll": dpstest.Poll, "lookup": dpstest.Lookup, "connect": dpstest.Connect, "clock": dpstest.Clock,
	}
	transports    = map[string]bool{"": true, dpstest.HTTPS: true, dpstest.MQTT: true, dpstest.WebSocket: true}
	networkFaults = map[string]simnet.Fault{
		"": simnet.None, "none": simnet.None, "nameNotFound": simnet.NameNotFound, "nameFailure": simnet.NameFailure, "refused": simnet.Refused,
		"blackhole": simnet.Blackhole, "resetOnAccept": simnet.ResetOnAccept,
	}
	certificates = map[string]simnet.CertificateKind{
		"": simnet.Valid, "valid": simnet.Valid, "expired": simnet.Expired, "notYetValid": simnet.NotYetValid, "unknownCA": simnet.UnknownCA,
		"wrongName": simnet.WrongName,
	}
)

// duration is a time.Duration that stands in JSON as text, such as "1m30s".
type duration time.Duration

func (d *duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is no duration: write it as \"30s\" or \"1m30s\"", data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration: write it as \"30s\" or \"1m30s\"", text)
	}
	*d = duration(parsed)
	return nil
}

// readScenario reads and checks a scenario; hubs are those of the configuration. Without a file there is none.
func readScenario(file string, hubs []string) (*scenario, error) {
	s := new(scenario)
	if file == "" {
		return s, nil
	}
	if err := decodeFile(file, s); err != nil {
		return nil, err
	}
	var last duration
	for i := range s.Steps {
		if err := s.Steps[i].check(hubs); err != nil {
			return nil, fmt.Errorf("%s: steps[%d].%w", file, i, err)
		}
		last = max(last, s.Steps[i].At+s.Steps[i].For)
	}
	if s.Repeat != 0 && s.Repeat < max(last, duration(time.Second)) {
		return nil, fmt.Errorf("%s: repeat: %s is too short: the last step ends after %s", file, time.Duration(s.Repeat), time.Duration(last))
	}
	return s, nil
}

// check finds what is wrong in a step. Its errors start with the field.
func (s *step) check(hubs []string) error {
	actions := 0
	for _, there := range []bool{
		s.Network != nil, s.Cut != "", s.ClockOffset != nil, s.DPS != nil, s.Hub != nil, s.Move != nil, s.MoveNow != nil, s.Disable != "",
		s.Enable != "", s.Unlink != "", s.Link != "", s.Disconnect != nil, s.Clear,
	} {
		if there {
			actions++
		}
	}
	switch {
	case actions != 1:
		return fmt.Errorf("at: the step does %d things: it must do exactly one, such as \"cut\" or \"dps\"", actions)
	case s.At < 0 || s.For < 0:
		return errors.New("at: the time is negative")
	case s.For != 0 && s.Network == nil && s.ClockOffset == nil:
		return errors.New("for: only network and clockOffset end by themselves; others have a step of their own")
	}
	hub := func(field, name string) error {
		if !slices.ContainsFunc(hubs, func(h string) bool { return strings.EqualFold(h, name) }) {
			return fmt.Errorf("%s: %q is none of the hubs", field, name)
		}
		return nil
	}
	host := func(field, name string) error {
		if strings.EqualFold(name, dpstest.GlobalEndpoint) {
			return nil
		}
		return hub(field, name)
	}
	switch {
	case s.Network != nil:
		if _, ok := networkFaults[s.Network.Fault]; !ok {
			return fmt.Errorf("network.fault: %q is unknown: use %s", s.Network.Fault, keys(networkFaults))
		}
		if _, ok := certificates[s.Network.Certificate]; !ok {
			return fmt.Errorf("network.certificate: %q is unknown: use %s", s.Network.Certificate, keys(certificates))
		}
		return host("network.host", s.Network.Host)
	case s.Cut != "":
		return host("cut", s.Cut)
	case s.DPS != nil:
		if _, ok := operations[s.DPS.On]; !ok {
			return fmt.Errorf("dps.on: %q is unknown: use %s, or leave it out", s.DPS.On, keys(operations))
		}
		if !transports[s.DPS.Transport] {
			return fmt.Errorf("dps.transport: %q is unknown: use %s, or leave it out", s.DPS.Transport, keys(transports))
		}
		return checkFault("dps", s.DPS.Skip, s.DPS.Times, s.DPS.Status, s.DPS.Delay)
	case s.Hub != nil:
		if _, ok := stages[s.Hub.On]; !ok {
			return fmt.Errorf("hub.on: %q is unknown: use %s", s.Hub.On, keys(stages))
		}
		if err := checkFault("hub", s.Hub.Skip, s.Hub.Times, s.Hub.Status, s.Hub.Delay); err != nil {
			return err
		}
		return hub("hub.host", s.Hub.Host)
	case s.Move != nil:
		return hub("move.hub", s.Move.Hub)
	case s.MoveNow != nil:
		return hub("moveNow.hub", s.MoveNow.Hub)
	case s.Unlink != "":
		return hub("unlink", s.Unlink)
	case s.Link != "":
		return hub("link", s.Link)
	case s.Disconnect != nil:
		return hub("disconnect.hub", s.Disconnect.Hub)
	}
	return nil
}

// checkFault finds numbers that mean nothing, and a status that no HTTP answer can have.
func checkFault(field string, skip, times, status int, delay duration) error {
	switch {
	case skip < 0:
		return fmt.Errorf("%s.skip: %d is negative", field, skip)
	case times < -1:
		return fmt.Errorf("%s.times: %d is negative: -1 is until \"clear\", 0 is once", field, times)
	case status != 0 && (status < 200 || status > 599):
		return fmt.Errorf("%s.status: %d is not 200 to 599", field, status)
	case delay < 0:
		return fmt.Errorf("%s.delay: %s is negative", field, time.Duration(delay))
	}
	return nil
}

func keys[V any](m map[string]V) string {
	var names []string
	for name := range m {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
