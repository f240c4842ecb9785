// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/rehome-iot/rehome/hubconn"
)

// Messages of 200 B that a second brings in, from as many goroutines, with the default of two
// fsyncs a second and with as many as the medium can.
func BenchmarkSend(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 200)
	for _, senders := range []int{1, 100, 5000, 20000} {
		for name, o := range map[string]Options{"": {}, " at once": quickly} {
			if senders == 1 && name == "" {
				continue // one a second
			}
			o.MaxBytes = 1 << 30
			b.Run(fmt.Sprintf("%d senders%s", senders, name), func(b *testing.B) {
				f := open(b, tempFile(b), o)
				box := boxOf(b, f)
				sent := 0
				for b.Loop() {
					var all sync.WaitGroup
					for range senders {
						all.Go(func() {
							err := box.Send(b.Context(), hubconn.Message{Body: body})
							if err != nil {
								b.Error(err)
							}
						})
					}
					all.Wait()
					sent += senders
				}
				b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "messages/s")
				b.ReportMetric(2*float64(f.Stats().Commits)/b.Elapsed().Seconds(), "fsyncs/s")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
