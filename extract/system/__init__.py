"""The base of all rooms: files, terminal, cores, memory and caches of the machine."""
