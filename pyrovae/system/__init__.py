"""What this machine is asked for: files, locks, memory, signals, devices and how a program leaves."""
