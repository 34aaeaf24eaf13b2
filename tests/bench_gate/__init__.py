"""`make bench-gate`: the speed of the decision beside its bounds and beside other tools. Not here: its rules."""
