"""`make bench`: Posthorn measured beside its peers, in one run, on the same cores."""
