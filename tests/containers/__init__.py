"""The images, and the system of docker-compose.yml, on a real Docker daemon."""
