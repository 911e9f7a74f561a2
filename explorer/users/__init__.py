"""Users' own code: functions by name, Python objects, source files, and a process in which they run."""
