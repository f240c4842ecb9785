package hubtest

// AttemptsFrom returns the entries of the log of [Hub.Attempts] from a position on, and the
// position of the next one: a program that follows the log begins with 0 and goes on with what it
// was told. Entries that the log has lost by then are left out, and after a ResetLog it begins
// again. An attempt that has no answer yet is not returned again when it gets one, unless the
// program asks for its position again; it may then get a neighbour twice, and none too few.
func (h *Hub) AttemptsFrom(position int) (entries []Attempt, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := since(h.attempts, position, h.logged.attempts)
	for _, a := range log {
		entries = append(entries, *a)
	}
	return entries, h.logged.attempts
}

// MessagesFrom is AttemptsFrom for the log of [Hub.Messages].
func (h *Hub) MessagesFrom(position int) (entries []Message, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := since(h.messages, position, h.logged.messages)
	return append([]Message(nil), log...), h.logged.messages
}

// OperationsFrom is AttemptsFrom for the log of [Hub.Operations].
func (h *Hub) OperationsFrom(position int) (entries []Operation, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	log := since(h.operations, position, h.logged.operations)
	return append([]Operation(nil), log...), h.logged.operations
}

// logged is how many entries each log has had since it was reset: what is in it are the newest.
type logged struct{ attempts, messages, operations int }

// since is what a log has from a position on, when so many entries were ever in it.
func since[T any](log []T, position, total int) []T {
	first := total - len(log)
	if position > total || position < first {
		position = first
	}
	return log[position-first:]
}
