"""Reports about mail: those received, those sent, and their figures."""
