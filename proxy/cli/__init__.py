"""The command line: thin shells over the rooms, one module a command, loaded only when used."""
