// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// said is a message of the hub about a certificate: what follows $iothub/credentials/res/, where
// "RID" is the request's ID, and the body.
type said struct{ topic, body string }

// scribe is a hub that says whatever it is told to say to a request for a certificate.
type scribe struct {
	says   []said
	mute   bool // no PUBACK
	acked  atomic.Int64
	asked  atomic.Int64
	closed atomic.Int64 // subscriptions
}

func (*scribe) ServeHTTP(http.ResponseWriter, *http.Request) {}

func (h *scribe) ServeMQTT(nc net.Conn) {
	packets(nc, func(kind byte, body []byte) {
		switch kind {
		case 1: // CONNECT
			_, _ = nc.Write([]byte{0x20, 2, 0, 0})
		case 8: // SUBSCRIBE
			_, _ = nc.Write([]byte{0x90, 3, body[0], body[1], 1})
		case 10: // UNSUBSCRIBE
			h.closed.Add(1)
			_, _ = nc.Write([]byte{0xb0, 2, body[0], body[1]})
		case 4: // PUBACK
			h.acked.Add(1)
		case 3: // PUBLISH
			h.asked.Add(1)
			n := binary.BigEndian.Uint16(body)
			topic, id := string(body[2:2+n]), body[2+n:4+n]
			if !h.mute {
				_, _ = nc.Write([]byte{0x40, 2, id[0], id[1]})
			}
			_, rid, _ := strings.Cut(topic, "$rid=")
			for n, s := range h.says {
				_, _ = nc.Write(s.packet(uint16(n+1), rid))
			}
		}
	})
}

func (s said) packet(id uint16, rid string) []byte {
	topic := "$iothub/credentials/res/" + strings.ReplaceAll(s.topic, "RID", rid)
	rest := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	rest = append(rest, topic...)
	rest = binary.BigEndian.AppendUint16(rest, id)
	rest = append(rest, s.body...)
	return append(binary.AppendUvarint([]byte{0x32}, uint64(len(rest))), rest...)
}

// told asks a scribe for a certificate.
func told(t *testing.T, h *scribe, scene func(s *stage, conn *hubconn.Conn, hear hearing)) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		s.network.Handle(host, h)
		conn := s.connect()
		var heard []time.Time
		chain, err := conn.IssueCertificate(s.Context(), hubconn.CertificateRequest{
			CSR: []byte("csr"), Accepted: func(e time.Time) { heard = append(heard, e) },
		})
		scene(s, conn, hearing{chain, err, heard})
		require.NoError(s, conn.Context().Err())
		assert.Equal(s, int64(1), h.asked.Load())
		assert.Equal(s, int64(1), h.closed.Load(), "nobody listens any more")
	})
}

type hearing struct {
	chain    []string
	err      error
	accepted []time.Time
}

const accepted = `{"correlationId":"c","operationExpires":"2000-01-01T12:00:00.123456789Z"}`

func TestTheAnswerToARequestForACertificateIsFoundAmongOthers(t *testing.T) {
	good := said{"200/?$rid=RID", `{"correlationId":"c","certificates":["bGVhZg==","cm9vdA=="]}`}
	other := said{"200/?$rid=another-one", `{"certificates":["eA=="]}`}
	for name, says := range map[string][]said{
		"alone":            {good},
		"with a version":   {{"200/?$rid=RID&$version=1", good.body}},
		"encoded":          {{"200/?%24rid=RID", good.body}},
		"repeated 202":     {{"202/?$rid=RID", accepted}, {"202/?$rid=RID", accepted}, good},
		"202 without time": {{"202/?$rid=RID", "{}"}, good},
		"202 of nonsense":  {{"202/?$rid=RID", "}"}, good},
		"others":           {other, {"400/?$rid=another-one", "x"}, {"202/?$rid=x", ""}, good},
		"no status":        {{"", ""}, {"x/?$rid=RID", ""}, {"99999/?$rid=RID", ""}, good},
		"no ID":            {{"200/", "{}"}, {"200/?$rid=", "{}"}, {"200/?$version=1", "{}"}, good},
		"no case":          {{"200/?$rid=RID", `{"CERTIFICATES":["bGVhZg==","cm9vdA=="],"x":[{}]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &scribe{says: says}
			told(t, h, func(s *stage, conn *hubconn.Conn, heard hearing) {
				require.NoError(s, heard.err)
				assert.Equal(s, []string{"bGVhZg==", "cm9vdA=="}, heard.chain)
				synctest.Wait()
				kept := int64(strings.Count(fmt.Sprint(says), "200/?$rid=another-one"))
				assert.Equal(s, int64(len(says)), h.acked.Load()+kept)
				for _, e := range heard.accepted {
					assert.True(s, e.IsZero() || e.Year() == 2000, "%v", e)
				}
			})
		})
	}
}

func TestAnAnswerThatIsNoCertificate(t *testing.T) {
	for name, row := range map[string]struct {
		say  said
		text string
	}{
		"empty":       {said{"200/?$rid=RID", ""}, "not a JSON object"},
		"no JSON":     {said{"200/?$rid=RID", "<html>"}, "not a JSON object"},
		"text":        {said{"200/?$rid=RID", `{"certificates":"SECRET"}`}, "not a JSON object"},
		"numbers":     {said{"200/?$rid=RID", `{"certificates":[1]}`}, "not a JSON object"},
		"null":        {said{"200/?$rid=RID", `null`}, "no certificates"},
		"none":        {said{"200/?$rid=RID", `{"certificates":[]}`}, "no certificates"},
		"DPS's name":  {said{"200/?$rid=RID", `{"issuedCertificateChain":["eA=="]}`}, "no certificates"},
		"one empty":   {said{"200/?$rid=RID", `{"certificates":["SECRET",""]}`}, "certificate 2"},
		"long":        {said{"200/?$rid=RID", `{"certificates":["` + strings.Repeat("SECRET", 30000) + `"]}`}, "is larger than the 131072"},
		"201":         {said{"201/?$rid=RID", `{"certificates":["eA=="]}`}, "status 201"},
		"302":         {said{"302/?$rid=RID", ``}, "status 302"},
		"500 in HTML": {said{"500/?$rid=RID", "<html>\n\x00"}, "status 500"},
		"odd types":   {said{"503/?$rid=RID", `{"errorCode":"x","info":7,"retryAfter":{}}`}, "status 503"},
	} {
		t.Run(name, func(t *testing.T) {
			h := &scribe{says: []said{{"202/?$rid=RID", accepted}, row.say}}
			told(t, h, func(s *stage, _ *hubconn.Conn, heard hearing) {
				e := s.is(heard.err, hubconn.Server)
				assert.Contains(s, e.Error(), row.text)
				assert.NotContains(s, e.Error(), "SECRET")
				assert.Less(s, len(e.Error()), 400)
				synctest.Wait()
				assert.Equal(s, int64(2), h.acked.Load(), "it would come again for ever")
			})
		})
	}
}

func TestARequestForACertificateThatIsNotAcknowledgedEnds(t *testing.T) {
	told(t, &scribe{mute: true}, func(s *stage, _ *hubconn.Conn, heard hearing) {
		s.is(heard.err, hubconn.Server)
		assert.ErrorIs(s, heard.err, hubconn.ErrNoAnswer)
		assert.Contains(s, heard.err.Error(), "no answer within 2m0s")
	})
}

// A hub that says more than anybody asks for fills no memory, and cannot end the program.
func TestAnswersThatNobodyAskedForFillNoMemory(t *testing.T) {
	h := &scribe{}
	for n := range 1000 {
		h.says = append(h.says, said{
			fmt.Sprintf("200/?$rid=none-%d", n), `{"certificates":["` + strings.Repeat("A", 4<<10) + `"]}`,
		})
	}
	h.says = append(h.says, said{"200/?$rid=RID", `{"certificates":["eA=="]}`})
	told(t, h, func(s *stage, _ *hubconn.Conn, heard hearing) {
		require.NoError(s, heard.err)
		synctest.Wait()
		assert.Equal(s, int64(1000), h.acked.Load(), "all but the last, which the hub has too")
	})
}
