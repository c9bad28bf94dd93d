"""What every room stands on: files, terminal, cores, memory and caches of the machine."""
