"""The relay beside scripted and real servers."""
