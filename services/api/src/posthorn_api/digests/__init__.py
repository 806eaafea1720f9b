"""Daily digests of Junk and quarantine, and the pages that their links lead to."""
