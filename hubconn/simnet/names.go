package simnet

// Serves reports whether a name has a site on the network.
func (n *Network) Serves(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[canonical(name)]
	return h != nil && h.site != nil
}
