"""One handler per verb: look first, act, and say what was observed. Rooms meet here only through contracts."""
