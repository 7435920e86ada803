package mqtt

import (
	"context"
	"log/slog"
)

// discreet is the broker's log: warnings and worse, and of their attributes only
// the error. The others hold whole packets, and so recordings.
type discreet struct{ to slog.Handler }

// Enabled keeps the broker's chatter out.
func (d discreet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && d.to.Enabled(ctx, l)
}

// Handle passes a record's message and error on.
func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, "mqtt broker: "+r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			out.AddAttrs(slog.Attr{Key: "err", Value: a.Value})
		}
		return true
	})
	return d.to.Handle(ctx, out)
}

// WithAttrs drops them: they are the broker's own names for its parts.
func (d discreet) WithAttrs([]slog.Attr) slog.Handler { return d }

// WithGroup drops groups likewise.
func (d discreet) WithGroup(string) slog.Handler { return d }
