"""One file for each row of the table, or for several that are alike; all of them are found by themselves."""
