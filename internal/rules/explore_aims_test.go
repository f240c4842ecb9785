// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

// isGoal says that the device has a connection that nobody is going to end.
func (x *exploration) isGoal(s *situation) bool {
	if x.world.certificates > 0 {
		return x.isRenewed(s)
	}
	return s.connected != 0 && x.isLast(s) && x.around(s).hubs[s.connected-1] == fine
}

func (x *exploration) isLast(s *situation) bool {
	return int(s.phase) == len(x.world.phases)-1
}

// mustConnect says that there is a way to a connection from here: a hub that the device knows
// accepts it, or DPS, which can be asked, names one that does.
func (x *exploration) mustConnect(s *situation) bool {
	if x.world.certificates > 0 {
		return x.mustRenew(s)
	}
	around := x.around(s)
	if !x.isLast(s) || s.wrongClock && !x.clockHeals(around) {
		return false
	}
	home := around.home
	if around.hubs[home-1] == fine && x.registers(around) {
		return true
	}
	confirmed := hubNumber(s.state.Confirmed.Hub)
	if confirmed == 0 || around.hubs[confirmed-1] != fine {
		return false
	}
	// One that accepts takes the other's place, even if it drops the device then.
	return home == confirmed || around.hubs[home-1] != flapping && around.hubs[home-1] != fickle
}

// hopeful says that there are situations from which a connection must be reached.
func (x *exploration) hopeful() bool {
	around := &x.world.phases[len(x.world.phases)-1]
	heals := around.clock == clockRight || x.clockHeals(around)
	home := around.hubs[around.home-1]
	return heals && (home == fine && x.registers(around) ||
		around.hubs[0] == fine && home != flapping && home != fickle)
}

// registers says that a registration succeeds.
func (x *exploration) registers(around *surroundings) bool {
	return around.register == fine || around.register == unassigned
}

// clockHeals says that somebody tells the device the time.
func (x *exploration) clockHeals(around *surroundings) bool {
	answers := func(w way) bool { return w != silent && w != broken }
	return answers(around.lookup) || !x.world.mqtt && answers(around.register)
}
