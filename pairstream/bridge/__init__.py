"""A continuous bridge from OpenTelemetry: spans in, events of runs out."""
