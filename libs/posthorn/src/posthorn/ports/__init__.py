"""What the services ask of the world, in the words of mail; each port says what it promises."""
