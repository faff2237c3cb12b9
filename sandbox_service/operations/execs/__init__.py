"""Execs: started, journaled, followed by many readers, found again, and ended for a known cause."""
