"""Ring 1: plain Python without I/O, event loop or clock of its own; time is passed in."""
