package hubconn

import "log/slog"

// log tells the program's Logger, if it has one. What is in a message, a twin or a call is never logged.
func (c *Conn) log(level slog.Level, message string, args ...slog.Attr) {
	if c.dialer.Logger == nil {
		return
	}
	attrs := append([]slog.Attr{slog.String("hub", c.hub.Host), slog.String("device", c.hub.clientID())}, args...)
	c.dialer.Logger.LogAttrs(c.ctx, level, message, attrs...)
}
