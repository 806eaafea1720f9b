"""What every service process does alike."""
