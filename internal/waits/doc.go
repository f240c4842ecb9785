// SPDX-License-Identifier: Apache-2.0

// Package waits keeps what a device was told to wait for beyond the end of its process: until when
// hubs and DPS are to be left alone, a pending registration, since when the hub is silent, and
// since when the device is not connected.
//
// It is kept in two places, both of them the store's. What a crash loop needs goes where writing is
// cheap and lasts as long as the machine runs (package cache, WaitStore). What a device needs that
// is switched off between two wakes goes beside the entry: written when an outage has lasted for a
// minute, or the process ends in one, at each of the few questions about it and of the warnings in
// the log; removed when it is over. A device for which all is well writes nothing.
//
// Nothing here is sealed: who can write it can make the device wait, for nine days at most, and
// can keep it from waiting; they cannot send it anywhere.
package waits
