// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// Twin is the state a hub keeps of a device or module: tags for the back end alone, desired
// properties from the back end to the device, reported properties the other way. Values are as
// encoding/json decodes them: numbers are float64.
type Twin struct {
	// Tags are for the back end alone; the device never sees them.
	Tags map[string]any
	// Desired are the properties that the back end sets for the device.
	Desired map[string]any
	// Reported are the properties that the device reports to the back end.
	Reported map[string]any
	// DesiredVersion starts at 1 and rises by one with every change of Desired.
	DesiredVersion int64
	// ReportedVersion starts at 1 and rises by one with every change of Reported.
	ReportedVersion int64
	// ETag changes with every change of tags or desired properties.
	ETag string
	// ModelID is the IoT Plug and Play model that the device announced last.
	ModelID string
}

// TwinChange is what a back end changes in a twin, as JSON merge patches (RFC 7396): a nil value
// deletes.
type TwinChange struct {
	// Tags is the patch of the tags. Nil leaves them as they are.
	Tags map[string]any
	// Desired is the patch of the desired properties. Nil leaves them, and their version, as they
	// are.
	Desired map[string]any
}

// Twin returns a device's twin. It is the caller's own.
func (h *Hub) Twin(id string) (Twin, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return Twin{}, false
	}
	return r.twin.copy(), true
}

// PatchDesired merges a patch into a device's desired properties and returns their new version. A
// device that is connected and subscribed is told. Errors are an *Error: 404001 for an unknown
// device, 400004 for a patch beyond the service's limits.
func (h *Hub) PatchDesired(id string, patch map[string]any) (version int64, err error) {
	t, err := h.PatchTwin(id, TwinChange{Desired: orEmpty(patch)}, "")
	return t.DesiredVersion, err
}

// PatchTags merges a patch into a device's tags. Its errors are PatchDesired's.
func (h *Hub) PatchTags(id string, patch map[string]any) error {
	_, err := h.PatchTwin(id, TwinChange{Tags: orEmpty(patch)}, "")
	return err
}

// PatchTwin changes tags and desired properties in one step and returns the twin as it is then. A
// nil map leaves its part alone. An ifMatch other than "" and "*" must be the twin's ETag, else the
// error is an *Error with code 412001.
func (h *Hub) PatchTwin(id string, p TwinChange, ifMatch string) (Twin, error) {
	return h.changeTwin("patch twin", id, p, ifMatch, merge)
}

// ReplaceTwin puts tags and desired properties in the place of those the twin has. A nil map leaves
// its part alone. The device is told all of its new desired properties. ifMatch is PatchTwin's.
func (h *Hub) ReplaceTwin(id string, p TwinChange, ifMatch string) (Twin, error) {
	return h.changeTwin(opReplaceTwin, id, p, ifMatch, func(_, patch document) document {
		return merge(nil, patch)
	})
}

const opReplaceTwin = "replace twin" // for errors, and to tell it from a patch

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return document{}
	}
	return m
}

func (h *Hub) changeTwin(
	op, id string, p TwinChange, ifMatch string, apply func(old, patch document) document,
) (Twin, error) {
	refuse := func(code int, format string, args ...any) (Twin, error) {
		return Twin{}, &Error{Op: op, ID: id, Code: code, Message: fmt.Sprintf(format, args...)}
	}
	tags, err := normalDocument(p.Tags)
	if err != nil {
		return refuse(codeArgumentInvalid, "tags: %v", err)
	}
	desired, err := normalDocument(p.Desired)
	if err != nil {
		return refuse(codeArgumentInvalid, "desired properties: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return Twin{}, unknownIdentity(op, id)
	}
	if ifMatch != "" && ifMatch != "*" && ifMatch != r.twin.ETag {
		return refuse(codePrecondition, "the twin's ETag is %q", r.twin.ETag)
	}
	next := r.twin
	if p.Tags != nil {
		next.Tags = apply(next.Tags, tags)
	}
	if p.Desired != nil {
		next.Desired = apply(next.Desired, desired)
		next.DesiredVersion++
	}
	if err := next.check(); err != nil {
		return refuse(codeArgumentInvalid, "%v", err)
	}
	next.ETag = h.newETag()
	r.twin = next
	if p.Tags != nil {
		h.recordTwin(id, "tags", 0, tags, op == opReplaceTwin)
	}
	if p.Desired != nil {
		h.recordTwin(id, "desired", next.DesiredVersion, desired, op == opReplaceTwin)
	}
	if l := h.links[id]; p.Desired != nil && l != nil {
		l.notify(desired, next.DesiredVersion)
	}
	return next.copy(), nil
}

// SetTwin makes a device's twin what is given, versions included (below 1 they are 1); a nil map is
// an empty one. This is how a device's state moves from hub to hub: what Twin returned at the one
// is set at the other. A connected device is not told. The ETag is the hub's to give.
func (h *Hub) SetTwin(id string, t Twin) error {
	const op = "set twin"
	parts := make([]document, 3)
	for i, m := range []map[string]any{t.Tags, t.Desired, t.Reported} {
		part, err := normalDocument(m)
		if err != nil {
			return &Error{Op: op, ID: id, Code: codeArgumentInvalid, Message: err.Error()}
		}
		parts[i] = merge(nil, part)
	}
	next := Twin{
		Tags: parts[0], Desired: parts[1], Reported: parts[2],
		DesiredVersion: max(t.DesiredVersion, 1), ReportedVersion: max(t.ReportedVersion, 1),
		ModelID: t.ModelID,
	}
	if err := next.check(); err != nil {
		return &Error{Op: op, ID: id, Code: codeArgumentInvalid, Message: err.Error()}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return unknownIdentity(op, id)
	}
	next.ETag = h.newETag()
	r.twin = next
	h.recordTwin(id, "all", 0, document{
		"tags": next.Tags, "desired": next.Desired, "reported": next.Reported,
	}, true)
	return nil
}

// report merges a device's patch into its reported properties; h.mu is held.
func (r *record) report(patch document) (version int64, ok bool) {
	next := merge(r.twin.Reported, patch)
	if sizeOf(next) > maxProperties {
		return 0, false
	}
	r.twin.Reported = next
	r.twin.ReportedVersion++
	return r.twin.ReportedVersion, true
}

// check checks a whole twin against the limits of size.
func (t *Twin) check() error {
	switch {
	case sizeOf(t.Tags) > maxTags:
		return fmt.Errorf("tags of more than %d bytes", maxTags)
	case sizeOf(t.Desired) > maxProperties:
		return fmt.Errorf("desired properties of more than %d bytes", maxProperties)
	case sizeOf(t.Reported) > maxProperties:
		return fmt.Errorf("reported properties of more than %d bytes", maxProperties)
	}
	return nil
}

// newTwin is the twin of a new identity.
func (h *Hub) newTwin() Twin {
	return Twin{
		Tags: document{}, Desired: document{}, Reported: document{},
		DesiredVersion: 1, ReportedVersion: 1, ETag: h.newETag(),
	}
}

func (t *Twin) copy() Twin {
	out := *t
	out.Tags, out.Desired, out.Reported = cloneDocument(t.Tags), cloneDocument(t.Desired),
		cloneDocument(t.Reported)
	return out
}

// newETag returns an ETag that has not been given before; h.mu is held.
func (h *Hub) newETag() string {
	h.etags++
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, h.etags))
}
