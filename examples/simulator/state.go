package main

// keeper writes the state file while the simulator runs.
type keeper struct{}

func (k *keeper) close() error { return nil }

func (s *simulator) restore(string) (bool, error) { return false, nil }
