package simnet

import "context"

// Go runs f in a goroutine that belongs to the network, as a site's work that outlives the request that asked for it
// does: the context ends when the network is closed, and Close waits until f has returned. It reports false, and does
// not run f, on a closed network.
func (n *Network) Go(f func(context.Context)) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.tasks.Go(func() { f(n.ctx) }) // under the lock, so that Close waits for it
	return true
}
