// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// fileOf is the content of the file that the driver uploads.
func fileOf(size int) []byte {
	content := make([]byte, size)
	for i := range content {
		content[i] = byte(i % 251)
	}
	return content
}

// The client asks the hub for a place, hands the file to the storage's own client, which cuts it
// into blocks above 4 MB, and tells the hub how that went.
func TestOfficialDeviceUploadsAFile(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	events := &simnet.EventLog{}
	w.network.RecordEvents(events)
	for credential, connect := range map[string]func(t *testing.T, id string) with{
		"key": func(t *testing.T, id string) with { return w.device(t, id, "mqtt") },
		"certificate": func(t *testing.T, id string) with {
			args := pemPair(t, w.certified(t, id))
			args["name"], args["transport"] = id, "ws"
			args["connectionString"] = "HostName=" + hostA + ";DeviceId=" + id + ";x509=true"
			return args
		},
	} {
		for size, blocks := range map[int]int{1000: 1, 9 << 20: 3} {
			t.Run(fmt.Sprintf("%d bytes, %s", size, credential), func(t *testing.T) {
				w.a.ResetLog()
				id := fmt.Sprintf("upload-%s-%d", credential, size)
				node.must(t, "connect", connect(t, id), nil)
				node.must(
					t, "upload", with{"name": id, "blob": "logs/boot 1.txt", "size": size}, nil,
				)

				// What the operator is told, and what there is.
				uploads := w.a.Uploads()
				require.Len(t, uploads, 1)
				u := uploads[0]
				assert.Equal(t, id, u.DeviceID)
				assert.Equal(t, id+"/logs/boot 1.txt", u.BlobName)
				assert.True(t, u.Success, "%+v", u)
				assert.False(t, u.Ended.IsZero())
				assert.Equal(t, 201, u.StatusCode)
				ended := eventsOf(events, simnet.EventUploadEnded, id)
				require.Len(t, ended, 1)
				assert.Equal(t, u.CorrelationID, ended[0].Upload.CorrelationID)
				assert.True(t, ended[0].Upload.Success)

				written := 0
				for _, o := range w.a.Operations() {
					if o.On == hubtest.BlobPut && o.Status == 201 {
						written++
					}
				}
				assert.Equal(t, blocks+1, written, "each block, and the list of them")

				var read struct {
					Status, Size int
					SHA256       string
				}
				node.must(t, "readBlob", with{
					"connectionString": w.a.PolicyConnectionString("service"),
					"address": "https://" + w.a.BlobHost() + "/uploads/" + id +
						"/logs/boot%201.txt",
				}, &read)
				assert.Equal(t, []int{200, size}, []int{read.Status, read.Size})
				digest := sha256.Sum256(fileOf(size))
				assert.Equal(t, hex.EncodeToString(digest[:]), read.SHA256)
				node.must(t, "close", with{"name": id}, nil)
			})
		}
	}
}

// eventsOf are the events of a kind that concern a device.
func eventsOf(log *simnet.EventLog, kind simnet.EventKind, id string) (found []*simnet.Event) {
	all, _ := log.Read(0, 1000)
	for _, e := range all {
		if e.Kind == kind && e.DeviceID == id {
			found = append(found, e)
		}
	}
	return found
}

func TestOfficialDeviceReportsAnUploadThatStorageRefuses(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	node.must(t, "connect", w.device(t, "refused", "mqtt"), nil)
	w.a.Inject(hubtest.Fault{On: hubtest.BlobPut, Status: 403, ErrorCode: "AuthenticationFailed"})
	require.Error(t, node.try("upload", with{"name": "refused", "blob": "a.txt", "size": 10}, nil))
	uploads := w.a.Uploads()
	require.Len(t, uploads, 1)
	assert.False(t, uploads[0].Ended.IsZero(), "%+v", uploads[0])
	assert.False(t, uploads[0].Success)
	_, ok := w.a.Blob("refused/a.txt")
	assert.False(t, ok)
	node.must(t, "upload", with{"name": "refused", "blob": "a.txt", "size": 10}, nil)
	content, _ := w.a.Blob("refused/a.txt")
	assert.Equal(t, fileOf(10), content)
	node.must(t, "close", with{"name": "refused"}, nil)
}
