"""The relay on a real queue, a real blob store and real SMTP servers."""
