// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"

	"github.com/rehome-iot/rehome/hubconn"
)

// SendBacklog sends any number of messages over HTTPS, in their order and in batches that fit, each
// by the rules of [Device.Send]: for devices that have gathered while they slept. It returns how
// many the hub has taken, from the first on; with an error, that of the batch which begins with
// messages[sent]. That batch, and no other, the hub may have all the same: a MessageID lets the
// receiver tell. Call it again with messages[sent:].
//
// Where a message is at fault (an error of class [hubconn.Caller]) it is messages[sent]: all that
// come before it were sent. Where the hub does not say which one of a batch it does not take, that
// is found by smaller batches.
//
// A batch counts as one request against the hub's throttling, but each of its messages against the
// day's quota (Azure docs: "IoT Hub quotas and throttling").
func (d *Device) SendBacklog(
	ctx context.Context, messages []hubconn.Message,
) (sent int, err error) {
	most := len(messages)
	for sent < len(messages) {
		n := min(hubconn.BatchLen(messages[sent:]), most)
		err := d.Send(ctx, messages[sent:sent+n]...)
		switch {
		case err == nil:
			sent, most = sent+n, len(messages)
		case n > 1 && hubconn.ClassOf(err) == hubconn.Caller:
			most = n / 2
		default:
			return sent, err
		}
	}
	return sent, nil
}
