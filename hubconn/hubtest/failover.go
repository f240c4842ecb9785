package hubtest

import "time"

// FailOver moves the hub to another region, as its operator or the service does: every connection is reset, new ones are refused for so
// long, and then it serves again, with its registry, twins and queues as they were. A Fault at Connect with return code 5, or one with status 404
// and code 404012 over HTTPS, is the other way in which hubs that fail over have been seen. The storage for uploads stays.
func (h *Hub) FailOver(d time.Duration) {
	h.network.mu.Lock()
	h.network.host(h.host).down = time.Now().Add(d)
	h.network.mu.Unlock()
	h.network.Cut(h.host)
}
