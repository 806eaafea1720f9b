"""Grafana dashboards of the chart, by area: what they show, and their JSON."""
