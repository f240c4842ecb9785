// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/base64"
	"maps"
	"strings"
	"sync"

	"github.com/rehome-iot/rehome/internal/sas"
)

// right is what a shared access policy allows. Azure docs: "Control access to IoT Hub with shared
// access signatures".
type right int

const (
	registryRead right = 1 << iota
	registryWrite
	serviceConnect
	deviceConnect
)

// ownerPolicy may do everything.
const ownerPolicy = "iothubowner"

// rights are those of the policies that every hub has.
var rights = map[string]right{
	ownerPolicy:         registryRead | registryWrite | serviceConnect | deviceConnect,
	"service":           serviceConnect,
	"device":            deviceConnect,
	"registryRead":      registryRead,
	"registryReadWrite": registryRead | registryWrite,
}

// policies are a hub's keys. The zero value makes them when they are first asked for.
type policies struct {
	mu   sync.Mutex
	keys map[string]string // base64, by the policy's name
}

func (p *policies) key(name string) string {
	if _, ok := rights[name]; !ok {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = make(map[string]string)
	}
	if p.keys[name] == "" {
		p.keys[name] = randomKey()
	}
	return p.keys[name]
}

func (p *policies) all() map[string]string {
	for name := range rights {
		p.key(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.keys)
}

func (p *policies) set(keys map[string]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = maps.Clone(keys)
}

// ConnectionString returns what back ends and the service SDKs are given to reach the hub: with the
// policy iothubowner, which may do everything.
func (h *Hub) ConnectionString() string { return h.PolicyConnectionString(ownerPolicy) }

// PolicyConnectionString returns a connection string with another of the hub's shared access
// policies: "service", "device", "registryRead" or "registryReadWrite". It returns "" for a policy
// that the hub does not have.
func (h *Hub) PolicyConnectionString(policy string) string {
	key := h.policies.key(policy)
	if key == "" {
		return ""
	}
	return "HostName=" + h.host + ";SharedAccessKeyName=" + policy + ";SharedAccessKey=" + key
}

// authorizeREST checks a back end's token against the policies. It returns the hub's code and why a
// call is refused, or 0.
func (h *Hub) authorizeREST(token string, needs right) (code int, refusal string) {
	if token == "" {
		return codeUnauthorized, "Authorization header missing"
	}
	signature, err := sas.Parse(token)
	if err != nil {
		return codeUnauthorizedEntry, "Unauthorized"
	}
	has, ok := rights[signature.KeyName]
	key, err := base64.StdEncoding.DecodeString(h.policies.key(signature.KeyName))
	host, _, _ := strings.Cut(signature.Resource, "/")
	switch {
	case !ok || err != nil || !signature.Verify(key) || !strings.EqualFold(host, h.host):
		return codeUnauthorizedEntry, "Unauthorized"
	case h.network.Now().After(signature.Expiry.Add(h.expiryGrace())):
		return codeUnauthorizedEntry, "Token has expired"
	case has&needs != needs:
		return codeUnauthorized, "Authorization rule '" + signature.KeyName +
			"' does not allow access for this operation"
	}
	return 0, ""
}
