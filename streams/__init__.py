"""Events in, rows out: the Faust worker around a pure core, and the embedded broker."""
