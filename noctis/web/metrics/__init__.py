"""What Prometheus is told: `catalogue` names every metric, `observed` gathers, `collector` puts both together."""
