"""Ring 3: files, terminals and other outsiders; every part of it is optional."""
