package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

const (
	hubFloor       = 5 * time.Second
	untrustedFloor = time.Minute
	hubCap         = 5 * time.Minute
	dpsCap         = time.Hour
	outageMin      = 15 * time.Minute // the first question after an outage comes at U(15, 30) min
	outageSpread   = 15 * time.Minute
	outageCap      = 24 * time.Hour
	outageLookups  = 2 // from the third question on it is a registration
	clockValid     = time.Hour
	clockPatience  = 3 // unanswered clock questions before a suspect clock no longer keeps a device from registering
	lookupPatience = 3 // unanswered lookups before a device that registers over MQTT does so instead
	capWindow      = 64
	oldHubTurn     = 4 // a hub that rejected the device gets every fourth turn while there is a newer assignment
)

// A device that stays rejected asks DPS with growing gaps, ± 20 %: the hub may lag behind DPS, and a disabled device must not hammer it.
var rejectionGaps = [...]time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}

func defaultRules() rules {
	return rules{
		hub: retry.Policy{MinDelay: hubFloor, MaxDelay: hubCap, Multiplier: 2},
		dps: retry.Policy{MinDelay: hubFloor, MaxDelay: dpsCap, Multiplier: 2},
	}
}
