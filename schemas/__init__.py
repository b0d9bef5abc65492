"""What agents, worker and trainer agree on: events, rows, topics, settings. Pure: no I/O."""
